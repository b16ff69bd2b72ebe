"""The example that serves a model and asks it, over both protocols."""

import subprocess
import sys

import pytest
import tensorflow as tf

from tests.readers import runtimes


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_served_model_is_asked_and_its_responses_are_drawn(protocol, tmp_path):
    images = tf.TensorSpec([None, None, None, 3], name="image")
    means = tf.function(lambda image: {"label": tf.reduce_mean(image, [1, 2])}, input_signature=[images])
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=means)
    command = [sys.executable, str(runtimes.SERVING / "ask.py"), "--model", "model", "--output", "out"]
    command += ["--protocol", protocol, "--requests", "3"]
    ended = subprocess.run(command, cwd=tmp_path, env=runtimes.QUIET, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    found = [line for line in ended.stdout.splitlines() if line.startswith("3 responses, median ")]
    assert len(found) == 1 and float(found[0].split()[-1]) < 1e-6
    assert (tmp_path / "out" / "ask.png").read_bytes().startswith(b"\x89PNG")
