"""Which SavedModels are checked in this process, and which in an interpreter that has TensorFlow alone."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfpyramid import ops
from tfpyramid._compat import keras
from tfpyramid.export import _verify, export_saved_model
from tfpyramid.export._standalone import _REGISTRY, found_in_process


def written(function, folder, **options):
    """Return the folder of a SavedModel of a function of one image."""
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[tf.TensorSpec([2, 4, 4, 3])], autograph=False)
    tf.saved_model.save(module, str(folder), options=tf.saved_model.SaveOptions(**options))
    return folder


def with_python(x):
    return tf.ensure_shape(tf.py_function(lambda a: 2 * a, [x], x.dtype), x.shape)


def with_numpy(x):
    return tf.ensure_shape(tf.numpy_function(lambda a: 2 * a, [x], x.dtype), x.shape)


@pytest.mark.parametrize(
    "function, found",
    [
        (lambda x: ops.round_st(tf.cond(tf.reduce_sum(x) > 0, lambda: ops.pyr_down(x), lambda: x)), set()),
        (with_python, {"EagerPyFunc"}),
        (with_numpy, {"PyFunc"}),
        (lambda x: tf.map_fn(with_python, x), {"EagerPyFunc"}),
    ],
)
def test_operations_that_call_python_are_found_in_functions_too(function, found, tmp_path):
    assert found_in_process(written(function, tmp_path / "model")) == found


def test_gradients_that_are_not_written_are_found(tmp_path):
    found = found_in_process(written(ops.round_st, tmp_path / "model", experimental_custom_gradients=False))
    assert found and all("CustomGradient" in name for name in found)


def test_a_gradient_that_this_process_registers_is_found(tmp_path):
    @tf.RegisterGradient("AdjustHue")  # TensorFlow has none.
    def of_hue(_, upstream):
        return upstream, None

    assert found_in_process(written(lambda x: tf.image.adjust_hue(x, 0.1), tmp_path / "model")) == {"AdjustHue"}


def test_operations_and_classes_that_tensorflow_does_not_have_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.__internal__.saved_model.load, "registered_identifiers", lambda: {"shop", "signature_map"})
    path = written(tf.nn.relu, tmp_path / "model") / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = model.meta_graphs
    graph.graph_def.library.function[0].node_def.add(op="Addons>Resampler")
    graph.object_graph_def.nodes[0].registered_name = "shop.Model"
    graph.object_graph_def.nodes.add().user_object.identifier = "shop"
    path.write_bytes(model.SerializeToString())
    assert found_in_process(path.parent) == {"Addons>Resampler", "shop.Model", "shop"}


def test_the_check_leaves_no_gradients_registered(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, keras.layers.Lambda(ops.round_st, output_shape=(8, 8, 3))(image))
    export_saved_model(model, tmp_path / "1")

    def is_loaded(name):
        return getattr(_REGISTRY.lookup(name), "__module__", "").endswith("function_deserialization")

    loaded = [name for name in _REGISTRY.list() if is_loaded(name)]
    export_saved_model(model, tmp_path / "2")
    after = [name for name in _REGISTRY.list() if is_loaded(name)]
    assert after == loaded


def test_an_export_inside_the_scope_of_a_strategy_is_checked_outside_of_it(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope(), tf.GradientTape():
        image = keras.Input((8, 8, 3), name="image")
        model = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
        assert export_saved_model(model, tmp_path / "1") == tmp_path / "1"


@pytest.mark.slow
def test_a_model_of_tensorflow_operations_starts_no_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(_verify, "_in_a_fresh_interpreter", lambda *paths: pytest.fail("It takes seconds."))
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, keras.layers.Lambda(ops.round_st, output_shape=(8, 8, 3))(image))
    export_saved_model(model, tmp_path / "1", image_bytes=True, uint8=True)
