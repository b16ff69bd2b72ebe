"""Functions that return models."""

import functools

import tensorflow as tf

from tests.argument_cases.row import Row
from tfpyramid import layers, models
from tfpyramid._compat import keras


def _shapes(model: keras.Model) -> tuple:
    outputs = tf.nest.flatten(model.output)
    return model.name, [tuple(each.shape) for each in (*model.weights, *outputs)], [str(y.dtype) for y in outputs]


@functools.cache
def _classifier() -> keras.Model:
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()], name="network")


@functools.cache
def _backbone() -> keras.Model:
    stack = [keras.layers.Conv2D(2, 3, strides=2, padding="same") for _ in range(2)]
    return keras.Sequential([keras.Input((None, None, 3)), *stack], name="backbone")


@functools.cache
def _text_model() -> keras.Model:
    tokens = keras.Input((None,), dtype="int64", name="question")
    return keras.Model({"question": tokens}, keras.layers.CategoryEncoding(9, output_mode="multi_hot")(tokens))


@functools.cache
def _strided() -> keras.Model:
    images = keras.Input((5, 5, 2))
    return keras.Model(images, keras.layers.Conv2D(1, 1, 2, name="down")(images), name="strided")


@functools.cache
def _vectorization() -> keras.layers.TextVectorization:
    return keras.layers.TextVectorization(vocabulary=["what", "where"])


@functools.cache
def _questions() -> keras.Model:
    stack = [keras.Input((None,), dtype="int32"), keras.layers.CategoryEncoding(3, output_mode="multi_hot")]
    return keras.Sequential([*stack, keras.layers.Dense(2)], name="questions")


@functools.cache
def _answers() -> keras.Model:
    features, question = keras.Input((2,)), keras.Input((2,))
    return keras.Model([features, question], keras.layers.Dense(2)(keras.layers.Add()([features, question])))


@functools.cache
def _cascade() -> keras.Model:
    return models.pyramid_classifier(network=_classifier(), num_levels=2, upsampled_levels=0, early_exit=True)


def _labelled() -> tuple:
    return tf.ones([2, 5, 5, 3]), tf.constant([0, 2])


ROWS = [
    Row(models.calibrate_confidence, lambda: {"model": _cascade(), "data": _labelled()}),
    Row(models.cost_curve, lambda: {"model": _cascade(), "data": _labelled(), "points": 3, "search": True}),
    Row(models.feature_levels, lambda: {"model": _backbone(), "strides": (2, 4), "name": "levels"}, use=_shapes),
    Row(
        models.pyramid_classifier,
        lambda: {
            "num_classes": 3,
            "network": _classifier(),
            "filters": (2,),
            "input_shape": (5, 5, 3),
            "num_levels": 2,
            "scale_factor": 2.0,
            "upsampled_levels": 1,
            "fusion": "mean",
            "early_exit": False,
            "discount": 0.0,
            "name": "classifier",
        },
        use=_shapes,
    ),
    Row(
        models.pyramid_classifier,
        lambda: {
            "num_classes": 3,
            "network": None,
            "filters": (2, 1),
            "input_shape": (5, 5, 3),
            "num_levels": 1,
            "scale_factor": 2.0,
            "upsampled_levels": 0,
            "fusion": "mean",
            "early_exit": False,
            "discount": 0.0,
            "name": "classifier",
        },
        use=_shapes,
        label="own network",
    ),
    Row(
        models.pyramid_classifier,
        lambda: {
            "num_classes": 3,
            "network": None,
            "filters": (2,),
            "input_shape": (5, 5, 3),
            "num_levels": 2,
            "scale_factor": 2.0,
            "upsampled_levels": 0,
            "fusion": "max",
            "early_exit": True,
            "discount": 0.5,
            "name": "classifier",
        },
        use=_shapes,
        label="early exit",
    ),
    Row(
        models.antialias,
        lambda: {"model": _strided(), "layers": ["down"], "kernel_size": 3, "border": "edge"},
        use=_shapes,
    ),
    Row(
        models.pyramid_detector,
        lambda: {
            "num_classes": 2,
            "backbone": None,
            "input_shape": (5, 5, 2),
            "strides": (2, 4),
            "extra_levels": 0,
            "filters": 2,
            "num_convolutions": 1,
            "reach": 4.0,
            "center_radius": 1.5,
            "score_threshold": 0.5,
            "iou_threshold": 0.5,
            "max_detections": 3,
            "max_candidates": 9,
            "name": "detector",
        },
        use=_shapes,
        stopped_for_odd_values=("_small_backbone",),
    ),
    Row(
        models.pyramid_flow,
        lambda: {
            "num_levels": 2,
            "finest_level": 1,
            "input_shape": (5, 5, 2),
            "filters": 2,
            "num_convolutions": 1,
            "decoder_filters": (2,),
            "max_displacement": 1,
            "patch_size": 1,
            "sampling": "warp",
            "stop_gradient": False,
            "normalize_gradients": False,
            "refinements": 0,
            "downsample": layers.BlurPool2D(name="down"),
            "name": "flow",
        },
        use=_shapes,
    ),
    Row(
        models.pyramid_segmenter,
        lambda: {
            "num_classes": 2,
            "input_shape": (5, 5, 2),
            "num_levels": 2,
            "filters": 2,
            "num_convolutions": 1,
            "downsample": layers.BlurPool2D(name="down"),
            "scale_factor": 2.0,
            "phase": 0.5,
            "classifier_activation": "sigmoid",
            "name": "segmenter",
            "backbone": None,
            "strides": (4, 8),
        },
        use=_shapes,
    ),
    Row(
        models.pyramid_super_resolution,
        lambda: {
            "scale": 2,
            "input_shape": (5, 5, 2),
            "filters": 2,
            "num_convolutions": 1,
            "share_weights": False,
            "name": "super_resolution",
        },
        use=_shapes,
    ),
    Row(
        models.pyramid_segmenter,
        lambda: {
            "num_classes": 2,
            "input_shape": (5, 5, 3),
            "num_levels": 2,
            "filters": 2,
            "num_convolutions": 1,
            "downsample": None,
            "scale_factor": 2.0,
            "phase": 0.5,
            "classifier_activation": "sigmoid",
            "name": "segmenter",
            "backbone": _backbone(),
            "strides": (2, 4),
        },
        use=_shapes,
        label="of a backbone",
    ),
    Row(
        models.pyramid_vlm,
        lambda: {
            "vocabulary_size": 3,
            "num_answers": 2,
            "input_shape": (5, 5, 2),
            "num_levels": 1,
            "downsample": layers.BlurPool2D(name="down"),
            "objective": "softmax",
            "cost_weight": 0.5,
            "filters": 2,
            "units": 2,
            "image_encoder": keras.layers.GlobalAveragePooling2D(name="mean"),
            "question_encoder": _questions(),
            "decoder": _answers(),
            "summaries": keras.layers.GlobalMaxPooling2D(name="summary"),
            "confidences": None,
            "seed": 3,
            "name": "vlm",
        },
        use=_shapes,
        stopped_for_odd_values=("LevelRouter",),
    ),
    Row(
        models.pyramid_vlm,
        lambda: {
            "vocabulary_size": 3,
            "num_answers": 2,
            "input_shape": (5, 5, 2),
            "num_levels": 2,
            "downsample": layers.BlurPool2D(name="down"),
            "objective": "cascade",
            "cost_weight": 0.5,
            "filters": 2,
            "units": 2,
            "image_encoder": keras.layers.GlobalAveragePooling2D(name="mean"),
            "question_encoder": _questions(),
            "decoder": _answers(),
            "summaries": None,
            "confidences": keras.layers.Dot(1, name="sure"),
            "seed": 3,
            "name": "vlm",
        },
        use=_shapes,
        stopped_for_odd_values=("LevelCascade",),
        label="cascade",
    ),
    Row(
        models.with_text_input,
        lambda: {"model": _text_model(), "vectorization": _vectorization(), "name": "question"},
        use=_shapes,
    ),
]
