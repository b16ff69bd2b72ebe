"""cost_curve."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.models._every_level import EveryLevel, answers_of_every_level


class CostCurve(NamedTuple):
    """Accuracy against pixels, one entry for each point of the curve, with the fewest pixels first.

    Attributes:
        thresholds: the weight to assign for each point: [points, levels - 1] for a cascade, and [points] for the
            `cost_weight` of a selector.
        accuracy: [points], the fraction of right answers.
        pixels: [points], the mean number of pixels read, relative to those of an image.
    """

    thresholds: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray

    def within(self, pixels: float) -> int:
        """Return the index of the most accurate point that reads at most so many pixels, the cheapest of equal ones."""
        pixels = _checks.at_least("pixels", pixels, 0, "the mean number of pixels read")
        allowed = np.flatnonzero(self.pixels <= pixels)
        if not len(allowed):
            rule = "`pixels` must be at least those of the cheapest point of the curve."
            raise ValueError(f"{rule} Received: {pixels}, with {self.pixels[0]:.4g} at the cheapest point")
        return int(allowed[np.argmax(self.accuracy[allowed])])


def cost_curve(model: keras.Model, data: Any, *, points: int = 256, search: bool = False) -> CostCurve:
    """Return the accuracy of a model against the pixels that it reads, for all settings of its trade-off.

    The function runs every level once on the data, and then computes each point of the curve from these answers.

    Equation:
        With a cost weight w, P the probability of a right answer, and the pixels `cost[k]` of level k:
        `pyramid_vlm` with the objective "value" reads level `argmax_k(P[k] - w cost[k])`, and its pixels alone count.
        A cascade stops at the coarsest level k with `P[k] >= 1 - w cost[k - 1]`, or at level 0, and the pixels of all
        levels that ran count. Going on can gain at most 1 - P[k], and costs `w cost[k - 1]`.
        With `search`, the thresholds of a cascade are then changed one level at a time, as long as that increases
        accuracy - w pixels on the data. What going on gains is measured, and not assumed to be 1 - P[k].

    Convention:
        The settings that change a choice are computed from the data, so the curve needs no grid.
        Pixels increase from point to point, and the cost weight decreases. Accuracy need not increase. With `search`
        it does, because only points that are more accurate than all cheaper ones remain.
        Choose a point on data held out from training, and measure it on other data. The rule has one number to choose,
        but `search` one for each level: use it with thousands of samples. It is for models with finer levels that are
        not always better, such as `pyramid_classifier` on objects that are too large for its finest levels.

    Args:
        model: a model that `pyramid_vlm` returned with the objective "value" or "cascade", or `pyramid_classifier` with
            `early_exit=True`.
        data: a `tf.data.Dataset` of batches (inputs, labels), or one pair (inputs, labels) of arrays. Labels are class
            indices or one-hot vectors. An answer in words is right if all its words are.
        points: the most points of the curve, from 2 to 65536. If there are more, they are spread evenly over the
            settings that change a choice.
        search: search for the best thresholds of a cascade. No effect with the objective "value".

    Returns:
        A named tuple (thresholds, accuracy, pixels) of arrays. `curve.within(pixels)` returns the index of the best
        point for a budget.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_vlm(vocabulary_size=30, num_answers=13, objective="cascade")
        >>> inputs = {"image": tf.ones([2, 64, 64, 3]), "question": tf.constant([[4, 7, 0], [5, 2, 9]])}
        >>> curve = models.cost_curve(model, (inputs, tf.constant([3, 12])))
        >>> _ = model.cascade.threshold.assign(curve.thresholds[curve.within(pixels=0.06)])
    """
    points = _checks.integer("points", points, 2, "the most points of the curve", maximum=2**16)
    search = _checks.flag("search", search)
    every = answers_of_every_level(model, data)
    settings = _spread(_settings(every), points)
    thresholds = every.thresholds(settings)
    if search and every.is_cascade:
        searched = [_searched(every, weight, start) for weight, start in zip(settings, thresholds)]
        return _best(_points(every, np.concatenate([thresholds, searched])), points)
    return _points(every, thresholds)


def _points(every: EveryLevel, thresholds: np.ndarray) -> CostCurve:
    """Return a point for each of the thresholds that makes other choices than the one before it."""
    levels = every.choose(thresholds)
    samples = np.arange(len(every.right))
    accuracy = np.array([every.right[samples, chosen].mean() for chosen in levels])
    pixels = np.array([every.pixels[chosen].mean() for chosen in levels])
    # Different settings between two samples make the same choices.
    new = np.r_[True, np.any(np.diff(levels, axis=0) != 0, axis=1)]
    return CostCurve(thresholds[new], accuracy[new], pixels[new])


def _best(curve: CostCurve, points: int) -> CostCurve:
    """Return the points that are more accurate than all cheaper ones."""
    order = np.lexsort([-curve.accuracy, curve.pixels])
    accuracy = curve.accuracy[order]
    best = _spread(order[np.r_[True, accuracy[1:] > np.maximum.accumulate(accuracy)[:-1]]], points)
    return CostCurve(*(values[best] for values in curve))


def _searched(every: EveryLevel, cost_weight: float, thresholds: np.ndarray) -> np.ndarray:
    """Return thresholds [levels - 1] at which no change of one of them increases accuracy - cost_weight * pixels."""
    thresholds, before = thresholds.copy(), np.full_like(thresholds, np.nan)
    gains = every.right - cost_weight * every.pixels  # Of a sample that stops at each level.
    stops = np.insert(every.probabilities >= thresholds, 0, True, axis=1)
    while not np.array_equal(thresholds, before):
        before = thresholds.copy()
        finer = gains[:, 0]  # The gain of a sample that goes on.
        for k in range(1, len(every.costs)):
            p = every.probabilities[:, k - 1]
            visit = ~np.any(stops[:, k + 1 :], axis=1) & ~np.isnan(p)  # NaN never stops.
            thresholds[k - 1] = _threshold(p[visit], (gains[:, k] - finer)[visit], thresholds[k - 1])
            stops[:, k] = p >= thresholds[k - 1]
            finer = np.where(stops[:, k], gains[:, k], finer)
    return thresholds


def _threshold(p: np.ndarray, gains: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return the threshold that maximizes the sum of gains over p >= threshold; the current one if it is as good."""
    order = np.argsort(-p)
    p, totals = p[order], np.insert(np.cumsum(gains[order]), 0, 0)
    # Bounds of the thresholds at which the first 0, 1, ... samples stop. Equal p stop together, and p = 1 always.
    upper, lower = np.insert(p, 0, 1), np.append(p, -1)
    totals[upper <= lower] = -np.inf
    best = np.argmax(totals)
    if totals[best] <= totals[np.count_nonzero(p >= current)] + 1e-9 * len(p):
        return current
    if best == len(p):
        return np.zeros_like(current)
    middle = (upper[best] + lower[best]) / 2
    return np.maximum(middle, np.nextafter(lower[best], upper[best]))


def _settings(every: EveryLevel) -> np.ndarray:
    """Return cost weights, one between each two at which a choice changes, in decreasing order."""
    changes = every.changes()
    changes = np.unique(changes[np.isfinite(changes) & (changes > 0)])
    if not len(changes):
        return np.array([1.0, 0.0])
    middle = (changes[1:] + changes[:-1]) / 2
    return np.r_[2 * changes[-1], middle[::-1], changes[0] / 2, 0.0]


def _spread(settings: np.ndarray, points: int) -> np.ndarray:
    if len(settings) <= points:
        return settings
    return settings[np.unique(np.linspace(0, len(settings) - 1, points).round().astype(int))]
