"""The example that serves a model and asks it, over both protocols."""

import subprocess
import sys

import pytest
import tensorflow as tf

from tests.readers import runtimes
from tests.scale import folder


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_served_model_is_asked_and_its_responses_are_drawn(protocol, tmp_path):
    folder.save(tmp_path / "model", lambda image: {"label": tf.reduce_mean(image, [1, 2])}, folder.IMAGES)
    command = [sys.executable, str(runtimes.SERVING / "ask.py"), "--model", "model", "--output", "out"]
    command += ["--protocol", protocol, "--requests", "3"]
    ended = subprocess.run(command, cwd=tmp_path, env=runtimes.QUIET, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    found = [line for line in ended.stdout.splitlines() if line.startswith("3 responses, median ")]
    assert len(found) == 1 and float(found[0].split()[-1]) < 1e-6
    assert (tmp_path / "out" / "ask.png").read_bytes().startswith(b"\x89PNG")
