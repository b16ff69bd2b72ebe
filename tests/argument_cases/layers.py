"""The layers: made, configured, and called on small images."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests.argument_cases.row import IMAGES, LEVELS, Row
from tfpyramid import layers, losses
from tfpyramid._compat import keras

STEP = {"scale_factor": 2.0, "kernel": [1.0, 2.0, 1.0], "border": "edge", "data_format": "channels_last"}
STRIDED = {"strides": 2, "border": "edge", "data_format": "channels_last"}
ALIGNED = {"scale_factor": 2.0, "interpolation": "nearest", "phase": 0.5, "data_format": "channels_last"}
WEIGHTS = np.float32([[0.25, 0.75]])


def _used(inputs: Any) -> Callable:
    def use(layer: keras.layers.Layer) -> tuple:
        config = {name: value for name, value in layer.get_config().items() if name not in ("name", "dtype")}
        outputs = layer(inputs)
        # Weights are drawn: of two layers only the shapes are equal. A file holds the configuration as JSON.
        return json.dumps(config, default=_unserializable), [tuple(y.shape) for y in tf.nest.flatten(outputs)]

    return use


def _unserializable(value: Any) -> str:
    if callable(value):
        return "function"  # An activation or an initializer of the user's, which must be registered to be saved.
    raise AssertionError(f"{value!r} of type {type(value).__name__} is no JSON")


def _row(layer: type, arguments: Callable[[], dict], inputs: Any = IMAGES, without: frozenset = frozenset()) -> Row:
    return Row(layer, arguments, inputs, _used(inputs), without=without)


def _layer(layer: type, inputs: Any = IMAGES, without: frozenset = frozenset(), **arguments: Any) -> Row:
    return _row(layer, lambda: arguments, inputs, without)


def _encoders() -> list[keras.layers.Layer]:
    return [keras.layers.GlobalAveragePooling2D(name=f"encoder_{k}") for k in range(2)]


ROWS = [
    _row(
        layers.AdaptiveDepthPyramid,
        lambda: {
            "max_levels": 2,
            "downsample": layers.BlurPool2D(name="down"),
            "share_weights": True,
            "hard": True,
            "temperature": 0.5,
            "depth_penalty": 0.5,
            "data_format": "channels_last",
        },
    ),
    _layer(
        layers.AntiAliasedDownsample2D,
        filters=3,
        kernel_size=4,
        normalization="softmax",
        hard=True,
        kernel_bits=7,
        **STRIDED,
    ),
    _layer(layers.BilinearDownsample2D, scale_factor=1.5, antialias=True, data_format="channels_last"),
    _layer(layers.BlurPool2D, kernel_size=3, pool_size=2, padding="same", pooling="max", **STRIDED),
    _layer(
        layers.ChannelAdaptiveDownsample2D,
        filters=3,
        reduction=2,
        use_bias=True,
        temperature=0.5,
        hard=True,
        **STRIDED,
    ),
    _layer(
        layers.ContentAdaptiveDownsample2D,
        window=3,
        hidden=2,
        normalization="sum",
        start="box",
        temperature=0.5,
        hard=True,
        **STRIDED,
    ),
    _layer(
        layers.CostVolume,
        [IMAGES, IMAGES, IMAGES],
        max_displacement=2,
        step=2,
        kernel_size=3,
        sampling="lookup",
        data_format="channels_last",
    ),
    _layer(
        layers.FeaturePyramid,
        LEVELS,
        filters=3,
        extra_levels=1,
        batch_norm=True,
        kernel_initializer="zeros",
        kernel_regularizer="l2",
        **ALIGNED,
    ),
    _layer(
        layers.FixationPredictor,
        [IMAGES, np.float32([[1, 2, 3]])],
        num_fixations=2,
        filters=3,
        kernel_size=2,
        temperature=0.5,
        hard=True,
        border="edge",
        data_format="channels_last",
    ),
    _layer(
        layers.FixationSampler,
        IMAGES[..., :1],
        num_fixations=2,
        num_peaks=3,
        grid=2,
        jitter=2,
        separation=3,
        seed=3,
        data_format="channels_last",
    ),
    _layer(layers.FoveatedPyramid, [IMAGES, np.float32([[0.25, 0.75]])], size=3, num_levels=2, hard=True, **STEP),
    _layer(layers.GaussianPyramid, num_levels=3, upsampled_levels=1, **STEP),
    _layer(layers.GradientNormalization, scope="sample", norm=2.0),
    _layer(layers.GumbelLevelSelector, WEIGHTS, temperature=0.5, hard=True, seed=3),
    _layer(layers.LaplacianPyramid, num_levels=2, **STEP),
    _layer(layers.LaplacianReconstruction, LEVELS, **STEP),
    _layer(
        layers.LearnableDownsample2D,
        filters=3,
        kernel_size=(3, 4),
        use_bias=True,
        hard=True,
        kernel_bits=7,
        kernel_regularizer="l2",
        **{**STRIDED, "strides": (2, 1)},
    ),
    _layer(
        layers.LearnableLaplacianPyramid,
        num_levels=2,
        kernel_size=4,
        normalization="softmax",
        scale_factor=2.0,
        border="edge",
        data_format="channels_last",
    ),
    _row(
        layers.LearnableLaplacianReconstruction,
        lambda: {
            "pyramid": layers.LearnableLaplacianPyramid(2, name="pyramid"),
            "data_format": "channels_last",
        },
        LEVELS,
    ),
    _row(
        layers.LearnablePyramid,
        lambda: {
            "num_levels": 2,
            "downsample": layers.BlurPool2D(name="down"),
            "share_weights": True,
            "data_format": "channels_last",
        },
    ),
    _layer(
        layers.LearnableStrideConv2D,
        filters=3,
        kernel_size=2,
        initial_strides=(1.5, 2.0),
        output_size=(2, 3),
        cost_weight=0.5,
        use_bias=True,
        hard=True,
        stride_speed=2.0,
        kernel_initializer="zeros",
        kernel_regularizer="l2",
        data_format="channels_last",
    ),
    _row(
        layers.LevelCascade,
        lambda: {
            "encoders": _encoders(),
            "confidences": [keras.layers.Dense(1, name="confidence")],
            "pyramid": layers.GaussianPyramid(2, name="pyramid"),
            "threshold": [0.5],
            "merge": layers.LogitFusion(name="merge"),
            "partition": True,
        },
    ),
    _row(
        layers.LevelRouter,
        lambda: {"encoders": _encoders(), "pyramid": layers.GaussianPyramid(2, name="pyramid"), "partition": True},
        [IMAGES, WEIGHTS],
    ),
    _layer(layers.SoftmaxMixture, [WEIGHTS[:, None], WEIGHTS[:, :1]]),
    _layer(layers.LogitFusion, [WEIGHTS, WEIGHTS], method="attention"),
    _row(
        layers.PerLevel,
        lambda: {"layer": layers.BlurPool2D(name="down"), "share_weights": True, "data_format": "channels_last"},
        LEVELS,
    ),
    _layer(
        layers.PyramidBlock,
        filters=2,
        depth=1,
        activation="relu",
        kernel_size=(3, 2),
        strides=2,
        border="edge",
        interpolation="nearest",
        use_bias=True,
        kernel_initializer="zeros",
        kernel_regularizer="l2",
        data_format="channels_last",
    ),
    _layer(
        layers.PyramidConv2D,
        LEVELS,
        frozenset({"layer"}),
        filters=3,
        kernel_size=(3, 2),
        activation="relu",
        use_bias=True,
        kernel_initializer="zeros",
        kernel_regularizer="l2",
        share_weights=False,
        data_format="channels_last",
    ),
    _layer(
        layers.QueryLevelSelector,
        np.float32([[1, 2, 3]]),
        num_levels=2,
        units=3,
        objective="value",
        cost_weight=0.5,
        costs=(1.0, 0.25),
        temperature=0.5,
        hard=True,
        seed=3,
    ),
    _layer(
        layers.SpatialTransformerDownsample2D,
        output_size=(3, 2),
        scale_factor=2.0,
        filters=2,
        grid_size=2,
        affine=True,
        offsets=True,
        hard=True,
        border="edge",
        data_format="channels_last",
    ),
    _layer(
        layers.SpectralDownsample2D,
        initial_strides=(1.5, 2.0),
        output_size=(2, 3),
        smoothness=2.0,
        cost_weight=0.5,
        hard=True,
        stride_speed=2.0,
        data_format="channels_last",
    ),
    _layer(layers.UpsampleConcat, LEVELS, target_level=1, **ALIGNED),
    _layer(layers.Warp2D, [IMAGES, IMAGES], border="edge", return_mask=True, data_format="channels_last"),
    _layer(
        layers.WeightedFusion,
        LEVELS,
        method="softmax",
        adaptive="map",
        per_channel=True,
        hard=True,
        temperature=0.5,
        epsilon=0.5,
        target_level=1,
        **ALIGNED,
    ),
    _layer(losses.PyramidDiversity, LEVELS, weight=0.5, scale_factor=2.0, phase=0.5, data_format="channels_last"),
]
