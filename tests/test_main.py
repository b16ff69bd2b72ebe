"""`python -m tfpyramid`, in a whole installation and in broken ones."""

import configparser
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfpyramid
from tfpyramid.__main__ import OPTIONAL
from tfpyramid._compat import keras

ROOT = Path(__file__).parents[1]


def report(*, code, folder, **environment):
    """Return the lines of the report by their names, for a run that ends with the exit status `code`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **environment}
    command = [sys.executable, "-m", "tfpyramid"]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())


@pytest.mark.slow
def test_a_whole_installation_is_described(tmp_path):
    lines = report(code=0, folder=tmp_path)
    assert list(lines) == [
        "tfpyramid",
        "Python",
        "TensorFlow",
        "Keras",
        "NumPy",
        "devices",
        *map("[{}]".format, OPTIONAL),
    ]
    assert lines["tfpyramid"] == tfpyramid.__version__
    assert lines["Python"].startswith(platform.python_version())
    assert lines["TensorFlow"] == tf.version.VERSION
    assert lines["Keras"].startswith(keras.__version__)
    assert lines["NumPy"] == np.__version__
    assert "CPU:0" in lines["devices"]
    assert lines["[visualize]"].startswith("matplotlib ") and "not installed" not in lines["[visualize]"]


@pytest.mark.slow
def test_another_backend_is_reported_in_its_line(tmp_path):
    lines = report(code=1, folder=tmp_path, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="0")
    assert "KERAS_BACKEND=tensorflow" in lines["tfpyramid"] and "KERAS_BACKEND=tensorflow" in lines["Keras"]
    assert lines["TensorFlow"] == tf.version.VERSION


@pytest.mark.parametrize("error", ["ImportError('lib.so: no such file')", "RuntimeError('two\\nlines')"])
def test_a_broken_tensorflow_is_reported_in_its_lines(error, tmp_path):
    (tmp_path / "tensorflow.py").write_text(f"raise {error}\n")
    lines = report(code=1, folder=tmp_path)
    for name in ("tfpyramid", "TensorFlow", "Keras", "devices"):
        assert "lib.so: no such file" in lines[name] or "two lines" in lines[name], name
    assert lines["NumPy"] == np.__version__


def test_a_broken_installation_raises_in_any_other_program(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('lib.so: no such file')\n")
    (tmp_path / "program.py").write_text("import tfpyramid\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "program"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and "lib.so: no such file" in ended.stderr


def test_every_optional_package_belongs_to_its_extra():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extra, package in OPTIONAL.items():
        assert package.replace("-", "_") in setup["options.extras_require"][extra].replace("-", "_")
