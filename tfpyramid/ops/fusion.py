"""Resizing of levels to one size, and weights to fuse them."""

from collections.abc import Sequence

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._sizes import level_size, power, rounded_down, smallest_next
from tfpyramid.ops import batches, kernels, portable, resample, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import sides

_STRETCH = (
    " If sizes follow no factor, pass scale_factor=None: the centres of the levels are then aligned, instead of sample "
    "i and i * scale_factor + phase."
)

METHODS = ("fast_normalized", "softplus_normalized", "softmax", "sum")


@operation
def align_levels(
    levels: Sequence[tf.Tensor],
    target_level: int = 0,
    *,
    scale_factor: float | None = 2.0,
    interpolation: str = "bilinear",
    phase: float = 0.0,
) -> list[tf.Tensor]:
    """Return every level resized to the size of the target level, with all samples aligned.

    Convention:
        With a `scale_factor` s and a `phase` d, sample i of a level sits at i * s + d of the level before it. So sample
        i of level k sits at `i s^k + d (s^k - 1) / (s - 1)` of level 0. Coarser levels are magnified by `resize_by`.
        Finer levels are reduced by `pyr_down`, with its default kernel moved to the phase d. A point of the image keeps
        its position: levels of a linear ramp return the ramp, except near the borders, on odd sides too. A side of n
        may become n / scale_factor rounded up (as in `pyr_down`) or down (as in a backbone without padding), or up to
        three less if the factor is an integer, as after convolutions without padding: one less, or at most a fifth.
        Neither moves a sample: beyond its last sample a level is constant.

        Pass the phase of the layer or kernel that made the levels: `GaussianPyramid.phase`, `LearnablePyramid.phase` or
        `ops.phase(kernel, scale_factor)`. It is 0 for the defaults, and 1/2 for kernels of even size. Use
        `scale_factor=None` for levels that have no constant factor, and for `BilinearDownsample2D`. Samples then lie at
        the centres of equal cells, as in `tf.image.resize`, and the target must be the largest level.

    Args:
        levels: tensors [batch, height, width, channels] with the same floating dtype and batch size, finest first.
        target_level: index of the level that sets the size; negative indices count from the end.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024, or None.
        interpolation: "bilinear" or "nearest", for levels that are magnified.
        phase: position of sample 0 of a level, in samples of the level before it; 0 if `scale_factor` is None.

    Returns:
        A list of tensors [batch, target height, target width, channels], each with its own number of channels.

    Raises:
        ValueError: if an argument breaks a rule above, for example if levels are in the wrong order.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then do not follow the factor, or
            batch sizes differ.
    """
    _checks.one_of("interpolation", interpolation, resample.INTERPOLATIONS)
    scale_factor = None if scale_factor is None else _checks.scale_factor(scale_factor)
    phase = _checks.phase(phase, scale_factor)
    levels = _level_checks.levels(levels, None)
    levels = batches.check(batches.named("levels", levels))
    target = check_target_level(target_level, len(levels))
    check_sizes([level.shape for level in levels], target, scale_factor)
    size = sides(levels[target])
    if scale_factor is None:
        return [resample.resize_by(level, None, size, interpolation=interpolation) for level in levels]
    _assert_follow(levels, scale_factor)
    kernel = kernels.at_phase(None, scale_factor, phase) if target else None
    aligned = []
    for k, level in enumerate(levels):
        if k > target:
            factor, offset = power(scale_factor, k - target), kernels.phase_after(phase, scale_factor, k - target)
            level = resample.resize_by(level, factor, size, interpolation=interpolation, phase=offset)
        for _ in range(target - k):
            level = resample.pyr_down(level, scale_factor=scale_factor, kernel=kernel)
        aligned.append(resample.cropped(level, size) if k < target else level)
    return aligned


def following(
    levels: Sequence[tf.Tensor], scale_factor: float | None, advice: str = _STRETCH, *, unpadded: bool = True
) -> list[tf.Tensor]:
    """Return levels, checked to follow a factor and have one batch size; the graph checks sizes that are unknown.

    `unpadded` levels may lack samples, as in `align_levels`.
    """
    levels = _level_checks.levels(levels, None)
    levels = batches.check(batches.named("levels", levels))
    check_follow([level.shape for level in levels], scale_factor, advice, unpadded=unpadded)
    _assert_follow(levels, scale_factor, unpadded)
    return levels


def check_follow(
    shapes: Sequence[Sequence[int | None]], scale_factor: float | None, advice: str = _STRETCH, *, unpadded: bool = True
) -> None:
    """Raise `ValueError` unless levels of these shapes follow the factor; `advice` completes the error."""
    _level_checks.sizes_follow(shapes, scale_factor, unpadded=unpadded, advice=advice)


def _assert_follow(levels: Sequence[tf.Tensor], scale_factor: float | None, unpadded: bool = True) -> None:
    """Add the check of `check_follow` to the graph if some sides are unknown until it runs."""
    known = all(None not in level.shape[1:3].as_list() for level in levels)
    if known or len(levels) == 1 or portable.is_portable():  # Other runtimes have no assertions.
        return
    sizes = tf.stack([tf.shape(level)[1:3] for level in levels])
    finer, coarser = sizes[:-1], sizes[1:]
    if scale_factor is None:
        follow = coarser <= finer
    else:
        least = (smallest_next if unpadded else rounded_down)(finer, scale_factor)
        follow = (coarser <= level_size(finer, scale_factor)) & (coarser >= least)
    rule = _level_checks.level_rule(scale_factor, unpadded=unpadded)
    tf.debugging.Assert(tf.reduce_all(follow), [rule + " Received: sides", sizes])


def check_target_level(target_level: object, num_levels: int) -> int:
    """Return the index of the target level, at least 0."""
    target = _checks.integer("target_level", target_level, -num_levels, f"the index of one of {num_levels} levels")
    if target >= num_levels:
        raise ValueError(
            f"`target_level` must be less than the number of `levels`, {num_levels}. "
            f"{_checks.received('target_level', target_level)}"
        )
    return target % num_levels


def check_sizes(shapes: Sequence[Sequence[int | None]], target: int, scale_factor: float | None) -> None:
    """Raise `ValueError` unless levels of these shapes can be resized to the target level."""
    if scale_factor is not None:
        check_follow(shapes, scale_factor)
        return
    largest = [max((shape[axis] or 0 for shape in shapes), default=0) for axis in (1, 2)]
    if any(n is not None and n < most for n, most in zip(shapes[target][1:3], largest)):
        raise ValueError(
            "`target_level` must be the largest level if `scale_factor` is None, because levels are only magnified. "
            f"Received: target_level={target}, sides {[tuple(shape[1:3]) for shape in shapes]}"
        )


@operation
def fusion_weights(
    values: tf.Tensor,
    method: str = "fast_normalized",
    *,
    hard: bool = False,
    temperature: float | tf.Tensor = 1.0,
    epsilon: float = 1e-4,
) -> tf.Tensor:
    """Return the weights of a weighted sum of levels, computed from learned values.

    Equation:
        "fast_normalized": `w[k] = relu(v[k]) / (sum_j relu(v[j]) + epsilon)`;
        "softplus_normalized": `w[k] = softplus(v[k]) / sum_j softplus(v[j])`, `softplus(v) = log(1 + exp(v))`;
        "softmax": `w = softmax(v / T)` over the levels, T the temperature; "sum": `w = v`.
        With `hard`, forward: the one-hot vector of the largest weight; backward: the gradient of the weights above.

    Args:
        values: floating tensor [levels], or [levels, channels] for separate weights for each channel.
        method: "fast_normalized", "softplus_normalized", "softmax" or "sum". If every value is negative, the output and
            gradient of the published "fast_normalized" are 0, and it cannot recover; "softplus_normalized" can.
        hard: choose one level (for each channel, if channels have separate weights), with a straight-through gradient.
        temperature: of the softmax, a number or a scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range.
            Smaller values approach the choice of one level. Other methods have no temperature and accept only 1.
        epsilon: prevents division by zero in "fast_normalized"; from 1e-30 to 1e30.

    Returns:
        Tensor of the shape and dtype of `values`.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Tan, Pang and Le, EfficientDet: Scalable and Efficient Object Detection, 2020, section 3.3.
    """
    values = _checks.floating_tensor("values", values)
    if values.shape.rank not in (1, 2) or values.shape[0] == 0:
        rule = "`values` must be [levels] or [levels, channels], with at least one level."
        raise ValueError(f"{rule} Received: values of shape {tuple(values.shape)}")
    _checks.one_of("method", method, METHODS)
    epsilon = _checks.number("epsilon", epsilon, above=0)
    if method == "softmax":
        # `gumbel_softmax` chooses along the last axis. Without a seed it adds no noise: this is the softmax of v / T.
        return tf.transpose(straight_through.gumbel_softmax(tf.transpose(values), temperature, hard=hard))
    check_temperature(method, temperature)
    # Use at least float32: float16 can hold neither a small epsilon nor the sum of large values.
    weights = tf.cast(values, working_dtype(values.dtype))
    if method == "softplus_normalized":
        weights = tf.nn.softmax(_log_softplus(weights), axis=0)
    if method == "fast_normalized":
        positive = tf.nn.relu(weights)
        # Divide by the largest value if it is above 1: the sum might be infinite, and the weights do not change.
        scale = tf.stop_gradient(tf.maximum(tf.reduce_max(positive, axis=0), 1))
        positive = positive / scale
        weights = positive / (tf.reduce_sum(positive, axis=0) + epsilon / scale)
    weights = tf.cast(weights, values.dtype)
    if not hard:
        return weights
    chosen = tf.transpose(straight_through.one_hot_st(tf.transpose(weights)))
    return straight_through.surrogate_st(chosen, weights)


def _log_softplus(values: tf.Tensor) -> tf.Tensor:
    """Return log(log(1 + exp(v))), with a slope that is never 0."""
    # Below this value, softplus(v) equals exp(v) up to rounding in float64. Much smaller exp(v) would underflow, and
    # their gradient would be 0.
    lowest = tf.constant(-36.0, values.dtype)
    return tf.where(values < lowest, values, tf.math.log(tf.math.softplus(tf.maximum(values, lowest))))


def check_temperature(method: str, value: float | tf.Tensor) -> None:
    """Raise `ValueError` unless this method accepts this temperature."""
    if method == "softmax":
        if not _checks.is_tensor(value):
            _checks.temperature(value)
    elif _checks.is_tensor(value) or _checks.temperature(value) != 1:
        raise ValueError(
            "`temperature` must be 1 unless `method` is 'softmax': the other methods have no temperature. "
            f"{_checks.received('temperature', value)}, method={method!r}"
        )
