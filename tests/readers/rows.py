"""The exports that readers load: a model for each row of the table, and one with all rows.

Every row is a layer by default, or with an option, between the input "image" [batch, height, width, 3] and its
outputs. A layer that takes levels takes those of a Gaussian pyramid, and one that takes vectors the means of
the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpyramid import layers, losses
from tfpyramid._compat import keras, write_saved_model
from tfpyramid.export._endpoint import endpoint, input_specs
from tfpyramid.export._names import output_names

LEVELS = 3  # Equal to the number of channels.
SIZES = ((2, 16, 20), (1, 33, 47), (2, 24, 18))  # Batch, height, width.


def _of_image(name: str, *arguments: object, **options: object) -> Callable:
    return lambda image, levels, query: getattr(layers, name)(*arguments, **options)(image)


def _of_levels(name: str, *arguments: object, **options: object) -> Callable:
    return lambda image, levels, query: getattr(layers, name)(*arguments, **options)(levels)


def _of_query(name: str, *arguments: object, **options: object) -> Callable:
    return lambda image, levels, query: getattr(layers, name)(*arguments, **options)(query)


def _per_level(image: object, levels: list, query: object) -> object:
    return layers.PerLevel(keras.layers.Conv2D(2, 3, padding="same"), share_weights=True)(levels)


def _learned_bands(image: object, levels: list, query: object) -> object:
    pyramid = layers.LearnableLaplacianPyramid(LEVELS, scale_factor=1.8, kernel_size=6)
    return layers.LearnableLaplacianReconstruction(pyramid)(pyramid(image))


def _logits(image: object, levels: list, query: object) -> object:
    return layers.LogitFusion()([keras.layers.GlobalAveragePooling2D()(level) for level in levels])


def _router(partition: bool) -> Callable:
    def outputs(image: object, levels: list, query: object) -> object:
        def encoder() -> keras.Model:
            start = keras.Input((None, None, 3))
            return keras.Sequential([start, keras.layers.Dense(2), keras.layers.GlobalAveragePooling2D()])

        return layers.LevelRouter([encoder() for _ in range(LEVELS)], partition=partition)([*levels, query])

    return outputs


def _cascade(partition: bool) -> Callable:
    def outputs(image: object, levels: list, query: object) -> object:
        def encoder() -> keras.Model:
            start = keras.Input((None, None, 3))
            return keras.Sequential([start, keras.layers.Dense(2), keras.layers.GlobalAveragePooling2D()])

        features, vector = keras.Input((2,)), keras.Input((3,))
        log_odds = keras.layers.Dense(1)(keras.layers.Concatenate()([features, vector]))
        cascade = layers.LevelCascade(
            [encoder() for _ in range(LEVELS)],
            keras.Model([features, vector], log_odds),
            layers.GaussianPyramid(LEVELS, upsampled_levels=1),
            threshold=0.5,
            merge=layers.LogitFusion(),
            partition=partition,
        )
        return list(cascade([image, query]))

    return outputs


def _diversity(image: object, levels: list, query: object) -> object:
    return losses.PyramidDiversity()(levels)


def _costs(image: object, levels: list, query: object) -> object:
    return layers.CostVolume(1)([image, image[:, ::-1]])


def _lookup(image: object, levels: list, query: object) -> object:
    return layers.CostVolume(1, sampling="lookup")([image, image[:, ::-1], image[..., :2]])


def _fixations(hard: bool) -> Callable:
    return lambda image, levels, query: layers.FixationPredictor(2, filters=4, hard=hard)([image, query])


def _samples(image: object, levels: list, query: object) -> object:
    return layers.FixationSampler(3)(image[..., :1])


def _mixture(image: object, levels: list, query: object) -> object:
    return layers.SoftmaxMixture()([image[:, 0], image[:, 0, :, 0]])


def _crops(hard: bool) -> Callable:
    return lambda image, levels, query: layers.FoveatedPyramid(2, LEVELS, hard=hard)([image, query[:, :2]])


def _warp(return_mask: bool) -> Callable:
    return lambda image, levels, query: layers.Warp2D(return_mask=return_mask)([image, 3 * image[..., :2] - 1])


ROWS: dict[str, Callable] = {
    "AdaptiveDepthPyramid": _of_image("AdaptiveDepthPyramid", LEVELS),
    "AdaptiveDepthPyramid, hard": _of_image("AdaptiveDepthPyramid", LEVELS, hard=True),
    "AntiAliasedDownsample2D": _of_image("AntiAliasedDownsample2D"),
    "AntiAliasedDownsample2D, hard": _of_image("AntiAliasedDownsample2D", filters=4, hard=True),
    "BilinearDownsample2D": _of_image("BilinearDownsample2D", scale_factor=2.7, antialias=True),
    "BlurPool2D": _of_image("BlurPool2D", pool_size=2),
    "ChannelAdaptiveDownsample2D": _of_image("ChannelAdaptiveDownsample2D"),
    "ChannelAdaptiveDownsample2D, hard": _of_image("ChannelAdaptiveDownsample2D", hard=True),
    "ContentAdaptiveDownsample2D": _of_image("ContentAdaptiveDownsample2D"),
    "ContentAdaptiveDownsample2D, hard": _of_image("ContentAdaptiveDownsample2D", hard=True),
    "CostVolume": _costs,
    "CostVolume, lookup": _lookup,
    "FeaturePyramid": _of_levels("FeaturePyramid", 4, extra_levels=1),
    "FixationPredictor": _fixations(hard=False),
    "FixationPredictor, hard": _fixations(hard=True),
    "FixationSampler": _samples,
    "FoveatedPyramid": _crops(hard=False),
    "FoveatedPyramid, hard": _crops(hard=True),
    "GaussianPyramid": _of_image("GaussianPyramid", LEVELS),
    "GradientNormalization": _of_image("GradientNormalization"),
    "GumbelLevelSelector": _of_query("GumbelLevelSelector"),
    "GumbelLevelSelector, hard": _of_query("GumbelLevelSelector", hard=True),
    # A side of 47 becomes 27, then 15; division in float32 would give 16.
    "LaplacianPyramid": _of_image("LaplacianPyramid", LEVELS, scale_factor=1.8),
    "LaplacianReconstruction": _of_levels("LaplacianReconstruction"),
    "LearnableDownsample2D": _of_image("LearnableDownsample2D"),
    "LearnableDownsample2D, hard": _of_image("LearnableDownsample2D", hard=True),
    "LearnableLaplacianPyramid": _of_image("LearnableLaplacianPyramid", LEVELS),
    "LearnableLaplacianReconstruction": _learned_bands,
    "LearnablePyramid": _of_image("LearnablePyramid", LEVELS),
    "LearnableStrideConv2D": _of_image("LearnableStrideConv2D"),
    "LearnableStrideConv2D, hard": _of_image("LearnableStrideConv2D", hard=True),
    "LevelCascade": _cascade(partition=True),
    "LevelCascade, partition=False": _cascade(partition=False),
    "LevelRouter": _router(partition=True),
    "LevelRouter, partition=False": _router(partition=False),
    "LogitFusion": _logits,
    "PerLevel": _per_level,
    "PyramidBlock": _of_image("PyramidBlock", 4),
    "PyramidConv2D": _of_levels("PyramidConv2D", 4),
    "PyramidDiversity": _diversity,
    "QueryLevelSelector": _of_query("QueryLevelSelector", LEVELS, objective="value"),
    "QueryLevelSelector, hard": _of_query("QueryLevelSelector", LEVELS, hard=True),
    "SoftmaxMixture": _mixture,
    "SpatialTransformerDownsample2D": _of_image("SpatialTransformerDownsample2D"),
    "SpatialTransformerDownsample2D, hard": _of_image("SpatialTransformerDownsample2D", hard=True),
    "SpectralDownsample2D": _of_image("SpectralDownsample2D"),
    "SpectralDownsample2D, hard": _of_image("SpectralDownsample2D", hard=True),
    "UpsampleConcat": _of_levels("UpsampleConcat"),
    "Warp2D": _warp(return_mask=False),
    "Warp2D, return_mask": _warp(return_mask=True),
    "WeightedFusion": _of_levels("WeightedFusion"),
    "WeightedFusion, adaptive": _of_levels("WeightedFusion", adaptive="map", per_channel=True),
    "WeightedFusion, adaptive, hard": _of_levels("WeightedFusion", adaptive="image", hard=True),
    "WeightedFusion, hard": _of_levels("WeightedFusion", "softmax", hard=True),
}


def model(*rows: str) -> keras.Model:
    """Return a float32 model of some rows with weights that differ from their initial values, and a dict of outputs."""
    image = keras.Input((None, None, LEVELS), name="image")
    levels, query = layers.GaussianPyramid(LEVELS)(image), keras.layers.GlobalAveragePooling2D()(image)
    outputs = {}
    for index, row in enumerate(ROWS):
        if row in rows:
            found = tf.nest.flatten(ROWS[row](image, levels, query))
            outputs.update({f"row{index:02d}_{k}": y for k, y in enumerate(found)})
    made = keras.Model(image, outputs)
    rng = np.random.default_rng(2)
    for weight in made.weights:
        weight.assign(weight + 0.05 * rng.standard_normal(weight.shape))
    return made


def row_of(output: str) -> str:
    """Return the row of an output of `model`."""
    return list(ROWS)[int(output[3:5])]


def inputs(batch: int, height: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch * height * width)
    return {"image": rng.standard_normal((batch, height, width, LEVELS)).astype(np.float32)}


def write(made: keras.Model, folder: Path, *, portable: bool = False) -> Path:
    """Write the same as `export_saved_model` without its check, because the readers are the check."""
    specs = input_specs(made)
    function = endpoint(made, output_names(made), portable=portable)
    serve = (lambda *tensors: function(dict(zip(specs, tensors))), list(specs.values()))
    write_saved_model(made, {"serve": serve}, folder)
    return folder


def keras_answers(made: keras.Model) -> list[tuple[dict, dict]]:
    """Return (inputs, outputs) by name for each of the sizes."""
    batches = [inputs(*size) for size in SIZES]
    return [(batch, {name: np.asarray(y) for name, y in made(batch["image"]).items()}) for batch in batches]


def keras_gradient(made: keras.Model) -> np.ndarray:
    """Return the gradient of the sum of the mean squares of all outputs for the last batch."""
    image = tf.constant(inputs(*SIZES[-1])["image"])
    with tf.GradientTape() as tape:
        tape.watch(image)
        objective = tf.add_n([tf.reduce_mean(tf.square(y)) for y in made(image).values()])
    return tape.gradient(objective, image).numpy()
