"""A dict of levels works like a list, in the order of the dict; a sorted dict raises an error."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, losses, ops
from tfpyramid._compat import keras

SIDES = {"P3": (9, 14), "P4": (5, 7), "P5": (3, 4), "P10": (2, 2)}
LEVELS = {
    key: np.random.default_rng(k).standard_normal([2, *sides, 3]).astype("float32")
    for k, (key, sides) in enumerate(SIDES.items())
}
LAYERS = {
    "PerLevel": lambda: layers.PerLevel(keras.layers.ReLU()),
    "PyramidConv2D": lambda: layers.PyramidConv2D(2),
    "FeaturePyramid": lambda: layers.FeaturePyramid(2),
    "UpsampleConcat": layers.UpsampleConcat,
    "WeightedFusion": layers.WeightedFusion,
    "LaplacianReconstruction": layers.LaplacianReconstruction,
    "LearnableLaplacianReconstruction": lambda: layers.LearnableLaplacianReconstruction(
        layers.LearnableLaplacianPyramid(4)
    ),
    "GradientNormalization": layers.GradientNormalization,
    "PyramidDiversity": losses.PyramidDiversity,
}


def equal(found, expected):
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LAYERS)
def test_a_dict_or_a_tuple_is_the_list_of_its_values(name, tmp_path):
    layer = LAYERS[name]()
    found = layer(LEVELS)
    equal(found, layer(list(LEVELS.values())))
    equal(found, layer(tuple(LEVELS.values())))
    shapes = {key: level.shape for key, level in LEVELS.items()}
    of_dict, of_list = layer.compute_output_shape(shapes), layer.compute_output_shape(list(shapes.values()))
    assert tf.nest.flatten(of_dict) == tf.nest.flatten(of_list)
    symbolic = {key: keras.Input((None, None, 3), name=key) for key in LEVELS}
    model = keras.Model(symbolic, layer(symbolic))
    # Keras sorts the inputs of the model, but passes each to its own tensor.
    np.testing.assert_allclose(tf.nest.flatten(model(LEVELS))[0], tf.nest.flatten(found)[0], atol=1e-6)
    model.save(tmp_path / "model.keras")
    equal(keras.models.load_model(tmp_path / "model.keras")(LEVELS), model(LEVELS))


@pytest.mark.parametrize("name", LAYERS)
def test_a_dict_whose_keys_were_sorted_is_refused_by_name(name):
    lost = {key: LEVELS[key] for key in sorted(LEVELS)}
    told = (
        r"`levels` must be finest first. A dict .* Received: 'P10' with sides \(2, 2\), then 'P3' with sides \(9, 14\)"
    )
    with pytest.raises(ValueError, match=told):
        LAYERS[name]()(lost)
    with pytest.raises(ValueError, match="`levels` must be a list of at least one level, finest first"):
        LAYERS[name]()({})


def test_functions_take_dicts_too():
    expected = list(LEVELS.values())
    equal(ops.reconstruct(LEVELS), ops.reconstruct(expected))
    equal(ops.align_levels(LEVELS), ops.align_levels(expected))
    equal(losses.pyramid_diversity_loss(LEVELS), losses.pyramid_diversity_loss(expected))


def test_predictions_in_a_dict_have_the_targets_of_their_keys():
    predictions = {key: level + 1 for key, level in LEVELS.items()}
    target = tf.zeros([2, 9, 14, 3])
    equal(losses.multi_scale_loss(target, predictions), losses.multi_scale_loss(target, list(predictions.values())))
    targets = {key: LEVELS[key] for key in sorted(LEVELS)}
    np.testing.assert_allclose(losses.multi_scale_loss(targets, predictions), [1.875, 1.875], rtol=1e-6)
    for other in (predictions, list(predictions.values()), target):
        with pytest.raises(ValueError, match=r"`targets` must have the keys .* Received: keys \['P3'\]"):
            losses.multi_scale_loss({"P3": target}, other)


def test_logits_and_levels_of_a_router_may_be_in_a_dict():
    logits = {"P3": tf.constant([[4.0, 0.0]]), "P10": tf.constant([[0.0, 1.0]])}
    equal(layers.LogitFusion("max")(logits), np.array([[4.0, 1.0]]))
    equal(ops.fuse_logits(logits, "max"), np.array([[4.0, 1.0]]))
    router = layers.LevelRouter([keras.layers.GlobalMaxPooling2D(name=f"max_{k}") for k in range(2)])
    weights = tf.one_hot([1, 0], 2)
    given = {"P3": LEVELS["P3"], "P10": LEVELS["P10"], "weights": weights}
    equal(router(given), router([LEVELS["P3"], LEVELS["P10"], weights]))
