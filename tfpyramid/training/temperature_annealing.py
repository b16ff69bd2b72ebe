"""TemperatureAnnealing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks
from tfpyramid._compat import keras, nested_layers
from tfpyramid.layers.protocols import temperature_of

SCHEDULES = ("exponential", "linear", "cosine")


class TemperatureAnnealing(keras.callbacks.Callback):
    """Anneal the temperature of every layer that has one while the model trains, from soft to hard.

    Equation:
        With `t = min(step / steps, 1)`, where step counts the steps of the optimizer so far: "exponential":
        `T = start (end / start)^t`; "linear": `T = start + (end - start) t`; "cosine":
        `T = end + (start - end) (1 + cos(pi t)) / 2`.

    Convention:
        The callback reads `optimizer.iterations`, which counts over all epochs, so a resumed training continues the
        schedule. The first step trains at `start`. The temperature reaches `end` after `steps` steps and does not
        change after that. It is a weight, so the train step is not retraced, and a saved model contains its current
        value.

    Args:
        start: temperature before the first step, from 1e-30 to 1e30.
        end: temperature after `steps`, from 1e-30 to 1e30.
        steps: number of optimizer steps from `start` to `end`, at least 1.
        schedule: "exponential", "linear" or "cosine".
        layers: set the temperature of these layers and of the layers inside them; None means all layers of the model.

    Raises:
        ValueError: if an argument breaks a rule above; when training begins, if no layer has a temperature.

    Example:
        >>> callback = training.TemperatureAnnealing(1.0, 0.1, steps=2000)
        >>> [round(callback.temperature_at(step), 3) for step in (0, 1000, 2000, 3000)]
        [1.0, 0.316, 0.1, 0.1]

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2.2 (annealing).
    """

    def __init__(
        self,
        start: float = 1.0,
        end: float = 0.1,
        *,
        steps: int,
        schedule: str = "exponential",
        layers: Sequence[keras.layers.Layer] | None = None,
    ) -> None:
        super().__init__()
        self.start = _checks.number("start", start, above=0, meaning="a temperature")
        self.end = _checks.number("end", end, above=0, meaning="a temperature")
        self.steps = _checks.integer("steps", steps, 1, "the number of optimizer steps from `start` to `end`")
        self.schedule = _checks.one_of("schedule", schedule, SCHEDULES)
        if layers is not None:
            if not isinstance(layers, (list, tuple)) or not all(isinstance(x, keras.layers.Layer) for x in layers):
                raise ValueError(f"`layers` must be None or a list of layers. {_checks.received('layers', layers)}")
            layers = list(layers)
        self.layers = layers
        self._temperatures: list[Any] = []

    def temperature_at(self, step: int) -> float:
        """Return the temperature after `step` steps of the optimizer."""
        t = min(step / self.steps, 1.0)
        if self.schedule == "exponential":
            return self.start * (self.end / self.start) ** t
        fraction = 1 - t if self.schedule == "linear" else (1 + math.cos(math.pi * t)) / 2
        return self.end + (self.start - self.end) * fraction

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._temperatures = []
        self._set()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._set()  # Another callback may have restored the optimizer, which changes its iterations.

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._set()

    def _set(self) -> None:
        if not self._temperatures:
            self._find()
        temperature = self.temperature_at(int(self.model.optimizer.iterations))
        for weight in self._temperatures:
            weight.assign(temperature)

    def _find(self) -> None:
        roots = [self.model] if self.layers is None else self.layers
        if not all(root.built for root in roots):
            return  # The first batch builds the model.
        found = {id(each): each for root in roots for each in nested_layers(root)}
        weights = [temperature_of(each) for each in found.values()]
        self._temperatures = [weight for weight in weights if weight is not None]
        if not self._temperatures:
            names = [type(each).__name__ for each in found.values()]
            raise ValueError(
                "`layers`, or the model if `layers` is None, must contain a layer with a temperature. "
                f"Received: layers of types {sorted(set(names))}"
            )
