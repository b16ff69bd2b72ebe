"""Exports that blend images, fuse exposures and stack focus: the same images and gradients without the package."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model

# Of two images and a mask, which are in the channels, and the number of levels.
USES = {
    "blend": lambda x, levels: ops.blend(x[..., :3], x[..., 3:6], x[..., 6:], num_levels=levels),
    "exposure_fusion": lambda x, levels: ops.exposure_fusion(tf.split(x[..., :6], 2, axis=3), levels),
    "focus_stack": lambda x, levels: ops.focus_stack(tf.split(x[..., :6], 2, axis=3), levels),
}


def merger(sides, levels):
    """Return a model with an output for each operation."""
    x = keras.Input((*sides, 7), name="image")
    outputs = {}
    for name, use in USES.items():
        outputs[name] = keras.layers.Lambda(lambda x, use=use: use(x, levels), output_shape=(*sides, 3))(x)
    return keras.Model(x, outputs)


def images(*size):
    return np.random.default_rng(sum(size)).random((*size, 7), np.float32)


@pytest.mark.slow
def test_they_merge_and_differentiate_without_the_package(readers, one_interpreter, tmp_path):
    path = export_saved_model(merger((None, None), levels=2), tmp_path / "merger")
    sizes = [(2, 6, 9), (1, 1, 1), (0, 5, 4)]
    rng = np.random.default_rng(1)
    given = [([images(*size)], [np.float32(rng.standard_normal((*size, 3))) for _ in USES]) for size in sizes]
    for ([x], upstream), (outputs, gradients) in zip(given, readers["saved_model"].read(path, given), strict=True):
        with tf.GradientTape() as tape:
            tape.watch(x := tf.constant(x))
            expected = [use(x, 2) for use in USES.values()]
        for y, here in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(y, here, atol=1e-6)
        np.testing.assert_allclose(gradients[0], tape.gradient(expected, x, upstream), rtol=1e-4, atol=1e-4)
