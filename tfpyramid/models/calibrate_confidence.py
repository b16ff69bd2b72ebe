"""calibrate_confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpyramid._compat import keras
from tfpyramid.models._every_level import answers_of_every_level

_STEPS = 100
_RIDGE = 1e-6
_LEAST_SCALE = 1e-9  # Of logits with a standard deviation of 1. What is below is rounding.


def calibrate_confidence(model: keras.Model, data: Any) -> np.ndarray:
    """Fit the confidence of each level of a cascade to how often its answers are right, on data held out from training.

    A confidence that is trained with the network is too high on new data, because answers to the training data are
    right more often. The function fits two numbers for each level and assigns them to the weight `calibration`.

    Equation:
        `P = sigmoid(scale z + bias)`. Scale and bias of a level minimize the binary cross-entropy between P and whether
        the answer from that level is right, by Newton's method. With n right and m wrong answers, the targets are
        (n + 1) / (n + 2) for right answers and 1 / (m + 2) for wrong ones, so that P stays below 1.

    Convention:
        The fit starts from the log-odds z of the confidence layer, whatever `calibration` was before.
        A level whose confidence does not tell right from wrong answers gets the scale 0.

    Args:
        model: a model that `pyramid_vlm` returned with the objective "cascade", or `pyramid_classifier` with
            `early_exit=True`.
        data: a `tf.data.Dataset` of batches (inputs, labels), or one pair (inputs, labels) of arrays, as in
            `cost_curve`.

    Returns:
        The weights assigned, [levels - 1, 2]: the scale and the bias of levels 1, 2, ...

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_vlm(vocabulary_size=30, num_answers=13, objective="cascade")
        >>> inputs = {"image": tf.ones([2, 64, 64, 3]), "question": tf.constant([[4, 7, 0], [5, 2, 9]])}
        >>> models.calibrate_confidence(model, (inputs, tf.constant([3, 12]))).shape
        (3, 2)

    References:
        Platt, Probabilistic Outputs for Support Vector Machines, 1999, section 2.2 (the targets).
    """
    cascade: Any = getattr(model, "cascade", None)
    if not hasattr(cascade, "calibration"):
        raise ValueError(
            "`model` must have a cascade: a model of `pyramid_vlm` with the objective 'cascade', or of "
            f"`pyramid_classifier` with `early_exit=True`. Received: model of type {type(model).__name__}"
        )
    every = answers_of_every_level(model, data)
    fitted = np.stack([_fit(every.logits[:, k], every.right[:, k + 1]) for k in range(every.logits.shape[1])])
    cascade.calibration.assign(fitted)
    return fitted


def _fit(logits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (scale, bias) that minimize the cross-entropy between sigmoid(scale logits + bias) and the targets."""
    positive, negative = np.count_nonzero(right), np.count_nonzero(~right)
    targets = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    z = logits.astype(np.float64)
    mean, spread = z.mean(), max(z.std(), 1e-12)
    x = np.stack([(z - mean) / spread, np.ones_like(z)], axis=1)
    # Without the ridge, levels that are nearly always right make the second derivatives vanish.
    ridge = _RIDGE * len(z) * np.eye(2)
    start = np.log(targets.mean() / (1 - targets.mean()))
    w = np.array([0.0, start])

    def loss(w: np.ndarray) -> float:
        return np.sum(np.logaddexp(0, x @ w) - targets * (x @ w)) + w @ ridge @ w / 2

    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (p - targets) + ridge @ w
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, gradient)
        rate = 1.0
        while rate > 1e-6 and loss(w - rate * step) > loss(w):
            rate /= 2
        w = w - rate * step
        if np.abs(rate * step).max() < 1e-10:
            break
    if w[0] <= _LEAST_SCALE:
        return np.array([0, start], np.float32)
    return np.array([w[0] / spread, w[1] - w[0] * mean / spread], np.float32)
