"""What is refused where the package cannot work, each in a fresh interpreter."""

import os
import subprocess
import sys

import pytest

from tfpyramid import _compat


def run(code, **environment):
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_this_keras_is_the_one_that_was_asked_for():
    legacy = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
    assert _compat.keras.__name__ == ("tf_keras" if legacy else "keras")
    assert _compat.KERAS_3 == (int(_compat.keras.__version__[0]) >= 3)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import tfpyramid._compat", "import tfpyramid.layers"])
def test_another_backend_is_refused_before_keras_is_imported(code):
    done = run(code, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="0")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("ImportError")
        and "KERAS_BACKEND=tensorflow" in last
        and "Received: KERAS_BACKEND='jax'" in last
    )
