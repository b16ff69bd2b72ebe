"""multi_scale_loss and MultiScaleLoss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import keras, register
from tfpyramid.losses._brought import brought
from tfpyramid.ops import batches, borders, kernels
from tfpyramid.ops.dtypes import working_dtype

Loss = str | Callable | dict  # A name, a function or loss of Keras, or its configuration.

_DECAY = "the ratio of the weights of two neighbouring levels"


def multi_scale_loss(
    targets: tf.Tensor | Sequence[tf.Tensor] | Mapping[str, tf.Tensor],
    predictions: tf.Tensor | Sequence[tf.Tensor] | Mapping[str, tf.Tensor],
    loss: Loss = "mse",
    *,
    weights: Sequence[float] | None = None,
    decay: float = 0.5,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    phase: float | None = None,
) -> tf.Tensor:
    """Compare predictions of several sizes with a target at full size, which the pyramid brings to each of them.

    Equation:
        `y = sum_k weights[k] mean(loss(target[k], prediction[k]))`, the mean over all but the batch, and target[k] what
        `pyr_down` makes of the target, repeated until it has the size of prediction k; `weights[k] = decay^k`.

    Convention:
        Of a single prediction k is the number of `pyr_down` that bring the target to its size. Levels of one pixel
        that follow a level of one pixel count as that level then; in a list each has its own place.
        Target and prediction are compared sample by sample, so both must lie at the same points of the image. With the
        phase of the pyramid that the predictions come from, `phase=pyramid.phase`, they do; the default is right for
        pyramids whose phase is that of `kernel`.

    Args:
        targets: [batch, height, width, channels], floating point, with the batch size of the predictions: classes
            one-hot, a mask as 0 and 1, which become the share of each cell. Or a list of as many targets as
            predictions, each of its prediction's size, or a dict of the predictions' keys.
        predictions: a list or dict of [batch, height, width, channels], finest first, the size of a level of the
            targets each; sides known or not (XLA needs them known). Or one such tensor. float16 and bfloat16 are
            compared in float32.
        loss: name of a loss of Keras, a function (target, prediction), or a `keras.losses.Loss`, whose own reduction is
            not used.
        weights: a number from 0 to 1e30 for each of the predictions; None means 1, decay, decay^2, ...
        decay: ratio of the weights of two neighbouring levels, at least 1e-30; its powers are at most 1e30.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        phase: where sample 0 of a prediction sits, in samples of the level before it, to which the kernel is moved;
            None means where the kernel puts it.

    Returns:
        [batch], as the losses of Keras.

    Raises:
        ValueError: if an argument breaks a rule above, such as a prediction whose size no level of the targets has.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that.

    Example:
        >>> target = tf.random.uniform([2, 9, 14, 1])
        >>> levels = ops.gaussian_pyramid(target, 3)
        >>> multi_scale_loss(target, [level + 1 for level in levels]).numpy()  # 1 + 1/2 + 1/4
        array([1.75, 1.75], dtype=float32)

    References:
        Fischer et al., FlowNet: Learning Optical Flow with Convolutional Networks, 2015, section 4 (a loss at each
        resolution); Sun, Yang, Liu and Kautz, PWC-Net, 2018, section 3 (training loss).
    """
    compare = _loss_function(loss)
    decay = _checks.number("decay", decay, above=0, meaning=_DECAY)
    step = _step(scale_factor, kernel, border, phase)
    targets, predictions = _in_lists(targets, predictions)
    targets, predictions = _images(targets, "targets"), _images(predictions, "predictions")
    named = {**batches.named("targets", targets), **batches.named("predictions", predictions)}
    targets, predictions = tf.nest.pack_sequence_as((targets, predictions), batches.check(named))
    if not isinstance(predictions, (list, tuple)):
        if weights is not None:
            rule = "`weights` must be None where `predictions` is a single tensor."
            raise ValueError(f"{rule} {_checks.received('weights', weights)}")
        if isinstance(targets, (list, tuple)):
            raise ValueError(
                "`targets` must be a single tensor where `predictions` is. "
                f"Received: a list of {len(targets)} targets, predictions of type {type(predictions).__name__}"
            )
        target, prediction = _pair(targets, predictions)
        target, steps = brought(target, prediction, step)
        return _power(decay, steps) * _per_sample(compare, target, prediction)
    predictions = _level_checks.level_list(predictions, "predictions")
    weights = _weights(weights, decay, len(predictions))
    own = isinstance(targets, (list, tuple))
    if own and len(targets) != len(predictions):
        rule = "`targets` must be one tensor, or a list of as many as `predictions`"
        raise ValueError(f"{rule}, {len(predictions)}. Received: {len(targets)} targets")
    terms, target = [], targets
    for k, (prediction, weight) in enumerate(zip(predictions, weights)):
        target, prediction = _pair(targets[k] if own else target, prediction)
        target, _ = brought(target, prediction, None if own else step)
        terms.append(weight * _per_sample(compare, target, prediction))
    if len({term.dtype for term in terms}) > 1:
        dtypes = [tf.convert_to_tensor(prediction).dtype.name for prediction in predictions]
        raise ValueError(f"`predictions` must be of one dtype. Received: predictions of dtypes {dtypes}")
    return tf.add_n(terms)


def _in_lists(targets: Any, predictions: Any) -> tuple[Any, Any]:
    """Return levels that are in a dict in a list, each target where the prediction of its key is."""
    if isinstance(targets, Mapping):
        keys = list(predictions) if isinstance(predictions, Mapping) else []
        if set(targets) != set(keys):
            rule = f"`targets` must have the keys of `predictions`, {keys}, if they are in a dict"
            raise ValueError(f"{rule}. Received: keys {list(targets)}")
        targets = [targets[key] for key in keys]
    if isinstance(predictions, Mapping):
        predictions = _level_checks.level_list(predictions, "predictions")
    return targets, predictions


def _images(values: Any, name: str) -> Any:
    """Return images, or a list of them, as tensors."""
    found = [_checks.images(value, each) for each, value in batches.named(name, values).items()]
    return found if isinstance(values, (list, tuple)) else found[0]


def _loss_function(loss: Any) -> Callable:
    """Return the function (target, prediction) of a loss, without the reduction over the batch."""
    rule = "`loss` must be the name of a loss of Keras, a function (target, prediction), or a keras.losses.Loss."
    try:
        found = keras.losses.get(loss) if isinstance(loss, str) else loss
    except ValueError as error:
        raise ValueError(f"{rule} {_checks.received('loss', loss)}") from error
    if isinstance(found, keras.losses.Loss):
        return found.call
    if isinstance(found, type) or not _plain.can_be_called(found, "target", "prediction"):
        raise ValueError(f"{rule} {_checks.received('loss', loss)}")
    return found


def _step(scale_factor: Any, kernel: Any, border: Any, phase: Any) -> dict[str, Any]:
    """Return the arguments of `pyr_down`, checked, with the kernel moved to a phase."""
    scale_factor = _checks.scale_factor(scale_factor)
    kernels.check(kernel)
    if phase is not None:
        kernel = kernels.at_phase(kernel, scale_factor, _checks.phase(phase))
    return {"scale_factor": scale_factor, "kernel": kernel, "border": borders.check(border)}


def _weights(weights: Any, decay: float, count: int) -> list[float]:
    if weights is None:
        return [_power(decay, k) for k in range(count)]
    given = _checks.plain(weights)
    if not isinstance(given, (list, tuple)) or len(given) != count:
        rule = f"`weights` must be as many as `predictions`, {count}."
        raise ValueError(f"{rule} {_checks.received('weights', weights)}")
    return [_checks.at_least("weights", weight, 0, "one for each prediction") for weight in given]


def _power(decay: float, steps: int | tf.Tensor) -> Any:
    """Return decay^steps, the weight of a level, which must be at most `GREATEST` where it is known."""
    if isinstance(steps, int) and steps * math.log(decay) > math.log(_checks.GREATEST):
        raise ValueError(
            f"`decay` must give weights of at most {_checks.GREATEST}, decay^{steps} for {steps} steps. "
            f"{_checks.received('decay', decay)}"
        )
    return decay**steps


def _pair(target: tf.Tensor, prediction: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a target and a prediction in one dtype, in which they can be compared."""
    if target.shape[3] != prediction.shape[3]:
        raise ValueError(
            "`targets` must have as many channels as `predictions`: classes are one-hot, since their numbers have no "
            f"mean. Received: targets of shape {target.shape}, predictions of shape {prediction.shape}"
        )
    dtype = working_dtype(prediction.dtype)
    return tf.cast(target, dtype), tf.cast(prediction, dtype)


def _per_sample(compare: Callable, target: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
    """Return [batch], the mean of a loss over all other axes."""
    values = compare(target, prediction)
    return tf.reduce_mean(values, list(range(1, values.shape.rank)))


@register
class MultiScaleLoss(keras.losses.Loss):
    """A loss for each level that a model returns, against one target at full size; see `multi_scale_loss`.

    Equation:
        Of an output: `decay^k mean(loss(target[k], output))`, with k the number of `pyr_down` that bring the target to
        its size, and the sum over the outputs, which Keras takes.

    Convention:
        Keras shows a loss one output at a time. So `model.compile(loss=MultiScaleLoss("mse"))` is enough for a model
        that returns levels, and each output finds its weight by its size: every output is given the target at *full*
        size, `model.fit(x, [y] * num_levels)`. (Keras 2 takes `model.fit(x, y)` too; Keras 3 wants one for each.)
        Levels in a list have one name, that of their layer, and Keras 3 then keeps the loss of only one in `history`.
        Return a dict to see each: `keras.Model(image, {f"level_{k}": y for k, y in enumerate(levels)})`, with
        `model.fit(x, dict.fromkeys(model.output, y))`.
        Targets that are at the outputs' sizes already weigh 1 each: `compile(loss_weights=...)` weighs those.
        Called by hand, it takes lists, as `multi_scale_loss` does. Targets are brought to the points where the samples
        of an output lie by `phase`, as in `multi_scale_loss`.

    Args:
        loss: name of a loss of Keras, a function (target, prediction), or a `keras.losses.Loss`, whose own reduction is
            not used.
        decay: ratio of the weights of two neighbouring levels, at least 1e-30; its powers are at most 1e30.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        phase: where sample 0 of a prediction sits, in samples of the level before it, to which the kernel is moved;
            None means where the kernel puts it.
        name: as in `keras.losses.Loss`.
        **kwargs: of `keras.losses.Loss`, such as `reduction`.

    Targets are cast to the dtype of the outputs, as Keras's losses do: a mask of 0 and 1 becomes the share of each
    cell; classes must be one-hot.

    Raises:
        ValueError: if an argument breaks a rule above, such as an output whose size no level of the target has.

    Example:
        >>> image = keras.Input((None, None, 3))
        >>> levels = layers.PyramidConv2D(1)(layers.LearnablePyramid(3)(image))
        >>> model = keras.Model(image, levels)
        >>> model.compile("adam", loss=losses.MultiScaleLoss("mse", decay=0.5))
        >>> photos, masks = tf.random.uniform([2, 9, 14, 3]), tf.random.uniform([2, 9, 14, 1])
        >>> history = model.fit(photos, [masks] * 3, verbose=0)
    """

    def __init__(
        self,
        loss: Loss = "mse",
        decay: float = 0.5,
        *,
        scale_factor: float = 2.0,
        kernel: kernels.Kernel = None,
        border: str = "reflect",
        phase: float | None = None,
        name: str | None = "multi_scale_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)
        self.loss = keras.saving.deserialize_keras_object(loss) if isinstance(loss, dict) else loss
        _loss_function(self.loss)
        self.decay = _checks.number("decay", decay, above=0, meaning=_DECAY)
        kernel = kernels.check_constant(kernel)
        # The kernel before it is moved to the phase: the configuration holds both.
        checked = {**_step(scale_factor, kernel, border, phase), "kernel": kernel}
        self.step = {**checked, "phase": None if phase is None else _checks.phase(phase)}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        if sample_weight is not None:
            sample_weight = batches.check_weight(sample_weight, tf.nest.flatten(y_pred)[0], "predictions")
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        dtype = tf.nest.flatten(y_pred)[0].dtype
        y_true = tf.nest.map_structure(lambda target: tf.cast(target, dtype), y_true)
        return multi_scale_loss(y_true, y_pred, self.loss, decay=self.decay, **self.step)

    def get_config(self) -> dict[str, Any]:
        loss = self.loss if isinstance(self.loss, str) else keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "decay": self.decay, **self.step}
