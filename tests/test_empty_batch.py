"""Gradients of an empty batch are zeros, with TensorFlow's own kernels and with those of oneDNN."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("one_dnn", ["0", "1"])
def test_an_empty_batch_changes_no_weight(one_dnn):
    # TensorFlow chooses its kernels when it is imported.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": one_dnn}
    command = [sys.executable, "-m", "tests.empty_batch"]
    root = Path(__file__).parents[1]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr[-1500:]
