"""The detector in TFLite: its network has only operations of TFLite, and its last operation is one of TensorFlow."""

import numpy as np
import tensorflow as tf

from tfpyramid import models
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model


def detector():
    return models.pyramid_detector(3, input_shape=(33, 47, 3), strides=(4, 8), extra_levels=1, filters=8)


def test_the_network_is_converted_with_the_operations_of_tflite(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model, images = detector(), np.random.default_rng(0).random((1, 33, 47, 3), np.float32)
    outputs = {f"{key}_{k}": y for key, levels in model.network.output.items() for k, y in enumerate(levels)}
    network = keras.Model(model.network.input, outputs)
    path = export_saved_model(network, tmp_path / "network", portable=True)
    flat = tf.lite.TFLiteConverter.from_saved_model(str(path)).convert()
    found = Interpreter(model_content=flat).get_signature_runner("serving_default")(image=images)
    expected = network(images)
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-4)


def test_the_whole_model_needs_one_operation_of_tensorflow(tmp_path):
    path = export_saved_model(detector(), tmp_path / "detector", portable=True)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    flat = converter.convert()
    custom = {name for name in (b"FlexCombinedNonMaxSuppression",) if name in flat}
    assert custom and flat.count(b"Flex") == flat.count(b"FlexCombinedNonMaxSuppression")
