"""The choice of a form by device: both are in the graph, and a CPU runs the first."""

import pytest
import tensorflow as tf

from tests.devices.graphs import bodies, graph_of
from tfpyramid.ops import devices

X = tf.constant([1.0, 2.0, 3.0])


def chosen(x: tf.Tensor) -> tf.Tensor:
    return devices.choose(lambda: 2 * tf.sin(x), lambda: 3 * tf.cos(x))


@pytest.fixture
def elsewhere(monkeypatch):
    """Graphs look for a GPU instead of a CPU, and so take the form for other devices."""
    device_index = tf.raw_ops.DeviceIndex
    monkeypatch.setattr(tf.raw_ops, "DeviceIndex", lambda device_names: device_index(device_names=["GPU"]))


def assert_chosen(function, expected, gradient):
    with tf.GradientTape() as tape:
        tape.watch(X)
        y = function(X)
    tf.debugging.assert_near(y, expected)
    tf.debugging.assert_near(tape.gradient(y, X), gradient)


def rows_of_a_map(x: tf.Tensor) -> tf.Tensor:
    return tf.map_fn(chosen, x)


GRAPHS = [chosen, tf.function(chosen, autograph=False), tf.function(rows_of_a_map, autograph=False)]


@pytest.mark.parametrize("function", GRAPHS)
def test_a_cpu_runs_the_first_form(function):
    assert_chosen(function, 2 * tf.sin(X), 2 * tf.cos(X))
    tf.debugging.assert_near(tf.vectorized_map(chosen, X), 2 * tf.sin(X))


def test_another_device_runs_the_second_form(elsewhere):
    for function in (chosen, rows_of_a_map):
        assert_chosen(tf.function(function, autograph=False), 3 * tf.cos(X), -3 * tf.sin(X))
    tf.debugging.assert_near(tf.vectorized_map(chosen, X), 3 * tf.cos(X))


def test_xla_compiles_the_second_form():
    assert_chosen(tf.function(chosen, jit_compile=True, autograph=False), 3 * tf.cos(X), -3 * tf.sin(X))


def test_the_graph_holds_both_forms():
    found = {
        node.op: body.on_cpu for body in bodies(graph_of(chosen, tf.TensorSpec([3]))) for node in body.nodes.values()
    }
    assert found["Sin"] and not found["Cos"]


def test_a_saved_model_holds_both_forms(tmp_path):
    module = tf.Module()
    module.run = tf.function(chosen, [tf.TensorSpec([None])], autograph=False)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    tf.debugging.assert_near(loaded.run(X), 2 * tf.sin(X))
    operations = {node.op for body in bodies(graph_of(loaded.run, tf.TensorSpec([3]))) for node in body.nodes.values()}
    assert {"Sin", "Cos"} <= operations
