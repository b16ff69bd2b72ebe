"""TemperatureAnnealing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks
from tfpyramid._compat import keras, nested_layers

SCHEDULES = ("exponential", "linear", "cosine")


class TemperatureAnnealing(keras.callbacks.Callback):
    """Bring the temperature of every layer that has one from soft to hard while the model trains.

    Equation:
        With `t = min(step / steps, 1)`, of the optimizer's steps so far: "exponential":
        `T = start (end / start)^t`; "linear": `T = start + (end - start) t`; "cosine":
        `T = end + (start - end) (1 + cos(pi t)) / 2`.

    Convention:
        Steps are counted by `optimizer.iterations`, over all epochs, so that training that is taken up again goes on
        where it was. The first step trains at `start`, and `end` is reached after `steps`; then it stays. What is set
        is a weight, so a compiled step need not be compiled anew, and a saved model keeps the temperature it has.

    Args:
        start: temperature before the first step, from 1e-30 to 1e30.
        end: temperature after `steps`, from 1e-30 to 1e30.
        steps: steps of the optimizer from one to the other, at least 1.
        schedule: "exponential", "linear" or "cosine".
        layers: whose temperature is set, with the layers inside them; None means those of the model.

    Raises:
        ValueError: if an argument breaks a rule above, and when training begins, if no layer has a temperature.

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
        self.steps = _checks.integer("steps", steps, 1, "of the optimizer, from start to end")
        self.schedule = _checks.one_of("schedule", schedule, SCHEDULES)
        if layers is not None:
            if not isinstance(layers, (list, tuple)) or not all(isinstance(x, keras.layers.Layer) for x in layers):
                raise ValueError(f"`layers` must be None or a list of layers. {_checks.received('layers', layers)}")
            layers = list(layers)
        self.layers = layers
        self._temperatures: list[Any] = []

    def temperature_at(self, step: int) -> float:
        """Return the temperature after so many steps."""
        t = min(step / self.steps, 1.0)
        if self.schedule == "exponential":
            return self.start * (self.end / self.start) ** t
        share = 1 - t if self.schedule == "linear" else (1 + math.cos(math.pi * t)) / 2
        return self.end + (self.start - self.end) * share

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._temperatures = []
        self._set()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._set()  # Another callback may have restored the optimizer since.

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
            return  # A model that its first batch builds.
        found = {id(each): each for root in roots for each in nested_layers(root)}
        weights = [getattr(each, "temperature", None) for each in found.values()]
        self._temperatures = [weight for weight in weights if hasattr(weight, "assign")]
        if not self._temperatures:
            names = [type(each).__name__ for each in found.values()]
            raise ValueError(
                "`layers` must hold a layer with a temperature, or the model where it is None. "
                f"Received: layers of types {sorted(set(names))}"
            )
