"""multi_scale_loss and MultiScaleLoss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import keras, register
from tfpyramid.losses import _masked_levels
from tfpyramid.losses._target_levels import check_channels, in_lists, target_at_size
from tfpyramid.ops import batches, borders, kernels
from tfpyramid.ops.dtypes import working_dtype

Loss = str | Callable | dict  # The name of a Keras loss, a function, a Keras loss, or its configuration.

_DECAY = "the weight of a level divided by the weight of the level before it"


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
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the weighted sum of a loss over predictions of several sizes, from one target at full size.

    The pyramid of the target provides a target for each prediction, so you need not resize targets yourself.

    Equation:
        `y = sum_k weights[k] mean(loss(target[k], prediction[k]))`, the mean over all axes but the batch. target[k] is
        the target after repeated `pyr_down`, until it has the size of prediction k; `weights[k] = decay^k`.
        With a mask, `w[0] = mask`, `w[k + 1] = pyr_down(w[k])`, and `target[k] = down^k(mask target) / w[k]`: the mean
        over known pixels. `y = mean(mask) sum_k weights[k] sum(w[k] loss(target[k], prediction[k])) / sum(w[k])`, sums
        over the pixels of a sample.

    Convention:
        Where a mask is 0, the target has no effect, even if it is NaN; where w[k] is 0, prediction k has none. A mask
        of ones changes nothing, and a constant mask multiplies the loss.
        For a single prediction, k is the number of `pyr_down` steps from the target to its size. All levels of one
        pixel then have the k of the first of them; in a list each has its own k.
        The loss compares target and prediction sample by sample, so the samples of both must lie at the same points of
        the image. Pass the phase of the pyramid that made the predictions: `phase=pyramid.phase`. The default is right
        for pyramids with the phase of `kernel`.

    Args:
        targets: [batch, height, width, channels], floating point, with the batch size of the predictions. Classes must
            be one-hot; a mask must be 0 and 1, and each sample of a level is then the fraction of ones around it. Or
            a list or dict with a target for each prediction, of the size of that prediction.
        predictions: a list or dict of [batch, height, width, channels], finest first, each with the size of a level of
            the targets, or one such tensor. The sides may be unknown, except under XLA. float16 and bfloat16 are
            compared in float32.
        loss: name of a Keras loss, a function (target, prediction), or a `keras.losses.Loss`; its own reduction is
            ignored.
        weights: a number from 0 to 1e30 for each prediction; None means 1, decay, decay^2, ...
        decay: weight of a level divided by the weight of the level before it, at least 1e-30; its powers must be at
            most 1e30.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        phase: position of sample 0 of a prediction, in samples of the level before it. The kernel is shifted to this
            phase; None leaves it unshifted.
        mask: a weight of at least 0 for each pixel of the targets, [batch, height, width] or [batch, height, width, 1],
            of any dtype. It requires one target at full size, a kernel without negative taps, and a loss with a value
            for each pixel.

    Returns:
        The loss of each sample, [batch], as Keras losses return it.

    Raises:
        ValueError: if an argument breaks a rule above, for example if no level of the targets has the size of a
            prediction.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs break a rule.

    Example:
        >>> target = tf.random.uniform([2, 9, 14, 1])
        >>> levels = ops.gaussian_pyramid(target, 3)
        >>> multi_scale_loss(target, [level + 1 for level in levels]).numpy()  # 1 + 1/2 + 1/4
        array([1.75, 1.75], dtype=float32)

    References:
        Fischer et al., FlowNet: Learning Optical Flow with Convolutional Networks, 2015, section 4 (a loss at each
        resolution); Sun, Yang, Liu and Kautz, PWC-Net, 2018, section 3 (training loss).
    """
    step = _step(scale_factor, kernel, border, phase)
    total = _total(targets, predictions, loss, weights, decay, step, mask)
    return total if mask is None else total * _masked_levels.share(mask, total.dtype)


def _total(
    targets: Any, predictions: Any, loss: Any, weights: Any, decay: float, step: dict[str, Any], mask: Any
) -> tf.Tensor:
    """Return the loss of each sample, [batch]; with a mask, divided by the mean of the mask."""
    compare, mean = _loss_function(loss), _per_sample
    decay = _checks.number("decay", decay, above=0, meaning=_DECAY)
    targets, predictions = in_lists(targets, predictions)
    targets, predictions = _images(targets, "targets"), _images(predictions, "predictions")
    named = {**batches.named("targets", targets), **batches.named("predictions", predictions)}
    targets, predictions = tf.nest.pack_sequence_as((targets, predictions), batches.check(named))
    own = isinstance(targets, (list, tuple))
    single = not isinstance(predictions, (list, tuple))
    if single and weights is not None:
        rule = "`weights` must be None if `predictions` is a single tensor."
        raise ValueError(f"{rule} {_checks.received('weights', weights)}")
    if single and own:
        raise ValueError(
            "`targets` must be a single tensor if `predictions` is a single tensor. "
            f"Received: a list of {len(targets)} targets, predictions of type {type(predictions).__name__}"
        )
    predictions = [predictions] if single else _level_checks.level_list(predictions, "predictions")
    if own and len(targets) != len(predictions):
        rule = f"`targets` must be one tensor, or a list of {len(predictions)} targets, one for each of `predictions`"
        raise ValueError(f"{rule}. Received: {len(targets)} targets")
    if not single:
        weights = _weights(weights, decay, len(predictions))
    for k, prediction in enumerate(predictions):
        check_channels(targets[k] if own else targets, prediction)
    if mask is not None:
        if own:
            rule = "`mask` must be None if `targets` is a list, because each target then has a size of its own"
            raise ValueError(f"{rule}. Received: a list of {len(targets)} targets")
        _masked_levels.check_kernel(step["kernel"], step["scale_factor"])
        targets = _masked_levels.stacked(tf.cast(targets, working_dtype(targets.dtype)), mask)
        mean = _masked_levels.weighted_mean
    terms, target = [], targets
    for k, prediction in enumerate(predictions):
        dtype = working_dtype(prediction.dtype)
        target = tf.cast(targets[k] if own else target, dtype)
        target, steps = target_at_size(target, prediction, None if own else step)
        weight = _power(decay, steps) if single else weights[k]
        terms.append(weight * mean(compare, target, tf.cast(prediction, dtype)))
    if len({term.dtype for term in terms}) > 1:
        dtypes = [prediction.dtype.name for prediction in predictions]
        raise ValueError(f"`predictions` must have one dtype. Received: predictions of dtypes {dtypes}")
    return tf.add_n(terms)


def _images(values: Any, name: str) -> Any:
    """Return images, or a list of images, as tensors."""
    found = [_checks.images(value, each) for each, value in batches.named(name, values).items()]
    return found if isinstance(values, (list, tuple)) else found[0]


def _loss_function(loss: Any) -> Callable:
    """Return the function (target, prediction) of a loss, without the reduction over the batch."""
    rule = "`loss` must be the name of a Keras loss, a function (target, prediction), or a keras.losses.Loss."
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
    """Return the checked arguments of `pyr_down`, with the kernel shifted to `phase`."""
    scale_factor = _checks.scale_factor(scale_factor)
    kernels.check(kernel)
    if phase is not None:
        kernel = kernels.at_phase(kernel, scale_factor, _checks.phase(phase))
    return {"scale_factor": scale_factor, "kernel": kernel, "border": borders.check(border)}


def _weights(weights: Any, decay: float, count: int) -> list[float]:
    if weights is None:
        return [_power(decay, k) for k in range(count)]
    return list(_level_checks.numbers("weights", weights, "one for each of `predictions`", count=count))


def _power(decay: float, steps: int | tf.Tensor) -> Any:
    """Return decay^steps, the weight of a level; raise if it exceeds `GREATEST` and `steps` is known."""
    if isinstance(steps, int) and steps * math.log(decay) > math.log(_checks.GREATEST):
        raise ValueError(
            f"`decay` must be small enough that decay^{steps}, the weight of level {steps}, is at most "
            f"{_checks.GREATEST}. {_checks.received('decay', decay)}"
        )
    return decay**steps


def _per_sample(compare: Callable, target: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
    """Return the mean of a loss over all axes but the batch, [batch]."""
    values = compare(target, prediction)
    return tf.reduce_mean(values, list(range(1, values.shape.rank)))


@register
class MultiScaleLoss(keras.losses.Loss):
    """Compare each level that a model returns with one target at full size; see `multi_scale_loss`.

    Equation:
        The loss of an output is `decay^k mean(loss(target[k], output))`, where k is the number of `pyr_down` steps from
        the target to the size of the output. Keras sums it over the outputs.

    Convention:
        Keras calls a loss for one output at a time, and the size of the output determines its weight. For a model that
        returns levels, use `model.compile(loss=MultiScaleLoss("mse"))` and pass the target at *full* size for every
        output: `model.fit(x, [y] * num_levels)`. (Keras 2 also accepts `model.fit(x, y)`; Keras 3 requires one target
        for each output.)
        Levels in a list all have the name of their layer, and Keras 3 then keeps the loss of only one in `history`. To
        see each loss, return a dict: `keras.Model(image, {f"level_{k}": y for k, y in enumerate(levels)})`, with
        `model.fit(x, dict.fromkeys(model.output, y))`.
        If targets already have the sizes of the outputs, each weight is 1; weigh them by `compile(loss_weights=...)`.
        `sample_weight` may be [batch], or a mask for the pixels of the full-size target, [batch, height, width] or
        [batch, height, width, 1], for example `model.fit(x, y, sample_weight=dict.fromkeys(model.output, mask))`. Each
        target is then the mean of the known pixels around it, and unknown ones, of weight 0, may be NaN. The default
        reduction divides by the number of all pixels, `reduction="mean_with_sample_weight"` of Keras 3 by the sum of
        the weights.
        If you call the loss yourself, it accepts lists, as `multi_scale_loss` does. `phase` determines the points of
        the image where the targets are sampled, as in `multi_scale_loss`.
        Targets are cast to the dtype of the outputs, as Keras losses do. Classes must be one-hot; a mask must be 0 and
        1, and each sample of a level is then the fraction of ones around it.

    Args:
        loss: name of a Keras loss, a function (target, prediction), or a `keras.losses.Loss`; its own reduction is
            ignored.
        decay: weight of a level divided by the weight of the level before it, at least 1e-30; its powers must be at
            most 1e30.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        phase: position of sample 0 of a prediction, in samples of the level before it. The kernel is shifted to this
            phase; None leaves it unshifted.
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument breaks a rule above, for example if no level of the target has the size of an output.

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
        # The configuration holds the kernel before the shift, and the phase.
        checked = {**_step(scale_factor, kernel, border, phase), "kernel": kernel}
        self.step = {**checked, "phase": None if phase is None else _checks.phase(phase)}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        weight = None if sample_weight is None else _checks.tensor("sample_weight", sample_weight)
        if weight is None or (weight.shape.rank or 0) < 3:
            weight = batches.weight_of_samples(weight, tf.nest.flatten(y_pred)[0], "predictions")
            return super().__call__(y_true, y_pred, weight)
        # Keras multiplies the loss by the mean of the mask, and divides by the sum of these if `reduction` says so.
        share = _masked_levels.share(weight, weight.dtype if weight.dtype.is_floating else tf.float32)
        return super().__call__(_masked_levels.Masked(y_true, weight), y_pred, share)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        y_true, mask = y_true if isinstance(y_true, _masked_levels.Masked) else (y_true, None)
        dtype = tf.nest.flatten(y_pred)[0].dtype
        y_true = tf.nest.map_structure(lambda target: tf.cast(target, dtype), y_true)
        return _total(y_true, y_pred, self.loss, None, self.decay, _step(**self.step), mask)

    def get_config(self) -> dict[str, Any]:
        loss = self.loss if isinstance(self.loss, str) else keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "decay": self.decay, **self.step}
