"""No layer raises an error with `enable_op_determinism`.

On a CPU that is tried here. `test_gpu_kernels` looks for the operations that raise an error on a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tests.devices import determinism
from tests.layer_cases import ROOMS


@pytest.mark.slow
@pytest.mark.parametrize("room", [room.__name__.split(".")[-1] for room in ROOMS])
def test_a_layer_gives_the_same_result_twice(room: str):
    command = [sys.executable, "-m", "tests.devices.deterministic", room]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, errors="replace")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_every_operation_that_raises_on_a_gpu_exists():
    for name in determinism.EVER:
        assert hasattr(tf.raw_ops, name), name


@pytest.mark.parametrize("training", [False, True])
def test_batch_normalization_raises_only_for_fixed_statistics(training: bool):
    node = node_def_pb2.NodeDef(op="FusedBatchNormGradV3")
    node.attr["is_training"].b = training
    assert determinism.raises(node) is not training
