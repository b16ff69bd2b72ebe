"""The model that `pyramid_detector` builds."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, losses
from tfpyramid._compat import compiled_arguments, keras, loss_metrics, register
from tfpyramid._plain import received
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.protocols import saved_names
from tfpyramid.models._detection_layers import Detections
from tfpyramid.models._pyramid_model import TrainedModel
from tfpyramid.ops import batches, detection
from tfpyramid.ops.shapes import dimensions, sides

_PARTS = ("class_loss", "box_loss", "centerness_loss")


@register
class PyramidDetector(TrainedModel):
    """Find objects in images; see `tfpyramid.models.pyramid_detector`.

    A functional model from images to {"boxes", "scores", "classes", "counts"}. In training mode it returns what
    `network` returns, of which `compute_loss` makes the loss.

    Args:
        network: model from images to {"logits", "distances", "centerness"}, each a list of levels, finest first.
        decoder: layer from [predictions, images] to the detections.
        reach: a level predicts boxes with sides at most this many strides away.
        center_radius: points predict a box if its centre is at most this many strides away; None means any distance.
        **kwargs: arguments of `keras.Model`.
    """

    # Keras already saves these layers as members of `layers`. Metrics are not part of a model, but Keras 2 would save
    # them with its weights, and then refuse the weights that Keras 3 saved.
    second_names = ("network", "decoder", "loss_metrics", "metrics", "_metrics")

    def __init__(
        self, network: keras.Model, decoder: Detections, reach: float, center_radius: float | None, **kwargs: Any
    ) -> None:
        network, decoder = check_layer("network", network), check_layer("decoder", decoder)
        image = keras.Input(network.input_shape[1:], name="image")
        super().__init__(inputs=image, outputs=decoder([network(image), image]), **kwargs)
        self.network, self.decoder = network, decoder
        self.reach, self.center_radius = reach, center_radius
        self.loss_metrics = loss_metrics(_PARTS)

    def __dir__(self) -> list[str]:
        return saved_names(self, super().__dir__())

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, Any]:
        if training:
            return self.network(inputs, training=True)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Return the sum of the three losses of FCOS, each divided by the number of points that predict a box."""
        self._check_compiled()
        if "logits" not in y_pred:  # Evaluation; the graph then drops the detections unless a metric needs them.
            y_pred = self.network(x, training=False)
        levels = y_pred["logits"]
        logits, distances, centerness = (detection.joined(y_pred[k]) for k in ("logits", "distances", "centerness"))
        points = detection.points_of(levels, self.decoder.strides, self.reach)
        images = tf.nest.flatten(x)[0]
        boxes, classes = _targets(y, logits)
        sample_weight = batches.weight_of_samples(sample_weight, images, "x")
        targets = detection.assigned(points, boxes, classes, sides(images), self.center_radius)
        predicted = detection.to_boxes(points.places, distances)
        parts = _losses(targets, logits, predicted, centerness, sample_weight)
        total = tf.add_n([*parts, *(tf.cast(loss, tf.float32) for loss in self.losses)])
        for metric, value in zip(self.loss_metrics, (*parts, total)):
            metric.update_state(value)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the parts of the loss, which `compute_loss` has updated."""
        self._check_compiled()
        return self.get_metrics_result()

    def _check_compiled(self) -> None:
        given = compiled_arguments(self)
        if given:
            raise ValueError(
                f"`{given[0]}` must not be given to `compile`, because a detector computes its own loss. For the "
                "average precision, pass the outputs of `predict` to a library such as pycocotools. "
                f"Received: compile with {', '.join(given)}"
            )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "network": serialize(self.network),
            "decoder": serialize(self.decoder),
            "reach": self.reach,
            "center_radius": self.center_radius,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PyramidDetector:
        return cls(**config)


def _targets(y: Any, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return boxes [batch, n, 4] as float32, and classes [batch, n] as int32."""
    rule = (
        '`y` must be a dict of "boxes" [batch, n, 4], (y_min, x_min, y_max, x_max) in pixels, and "classes" '
        "[batch, n], -1 for padding."
    )
    if not isinstance(y, dict) or not {"boxes", "classes"} <= set(y):
        raise ValueError(f"{rule} {received('y', sorted(y) if isinstance(y, dict) else y)}")
    boxes, classes = (_checks.tensor(name, y[name]) for name in ("boxes", "classes"))
    if boxes.shape.rank != 3 or boxes.shape[2] != 4 or classes.shape.rank != 2:
        raise ValueError(f"{rule} Received: boxes of shape {boxes.shape}, classes of shape {classes.shape}")
    rule = "`y` must hold as many boxes as classes for each image, and one row of them for each image of the batch."
    sizes = [[*boxes.shape[:2]], [*classes.shape], [logits.shape[0], boxes.shape[1]]]
    if any(len({*known} - {None}) > 1 for known in zip(*sizes)):
        raise ValueError(
            f"{rule} Received: boxes of shape {boxes.shape}, classes of shape {classes.shape}, "
            f"for a batch of {logits.shape[0]}"
        )
    counts = dimensions(boxes)[:2], dimensions(classes), [dimensions(logits)[0], dimensions(boxes)[1]]
    boxes, classes = batches.assert_equal(rule, [boxes, classes], *counts)
    boxes, classes = tf.cast(boxes, tf.float32), tf.cast(classes, tf.int32)
    depth = logits.shape[-1]
    rule = f"`classes` must be below {depth}, the number of classes of the model; negative numbers are padding."
    with tf.control_dependencies([tf.debugging.assert_less(classes, depth, rule)]):
        return boxes, tf.identity(classes)


def _losses(
    targets: detection.Targets, logits: tf.Tensor, boxes: tf.Tensor, centerness: tf.Tensor, sample_weight: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the focal loss of the classes, the GIoU loss of the boxes and the cross-entropy of the centre-ness."""
    weight = tf.ones([1, 1]) if sample_weight is None else tf.cast(tf.reshape(sample_weight, [-1, 1]), tf.float32)
    found = tf.cast(targets.classes >= 0, tf.float32)
    number = tf.maximum(tf.reduce_sum(found), 1)
    depth = logits.shape[-1]
    one_hot = tf.one_hot(targets.classes, depth)  # Zeros for -1.
    focal = keras.losses.BinaryFocalCrossentropy(True, alpha=0.25, gamma=2.0, from_logits=True, reduction="none")
    entropy = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
    overlap = losses.GeneralizedIoU(reduction="none")
    return (
        depth * tf.reduce_sum(weight * focal(one_hot, logits)) / number,  # Keras returns the mean over the classes.
        tf.math.divide_no_nan(
            tf.reduce_sum(weight * targets.centerness * overlap(targets.boxes, boxes)),
            tf.reduce_sum(targets.centerness),
        ),
        tf.reduce_sum(weight * found * entropy(targets.centerness[..., None], centerness)) / number,
    )
