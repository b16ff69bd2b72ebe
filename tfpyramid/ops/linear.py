"""Linear maps of images, each with its transpose, which is its gradient."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Linear(NamedTuple):
    """A linear map and its transpose, as functions of a tensor. Both may use tensors of the graph that made the map."""

    apply: Callable[[tf.Tensor], tf.Tensor]
    transpose: Callable[[tf.Tensor], tf.Tensor]

    def reversed(self) -> "Linear":
        """Return the transpose as a map, with this map as its gradient."""
        return Linear(self.transpose, self.apply)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Return the map of x, with the transpose as its gradient."""

        @tf.custom_gradient
        def run(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            return self.apply(x), self.transpose

        return run(x)


def chain(*maps: Linear) -> Linear:
    """Return the map that applies several, the first one first."""

    def apply(x: tf.Tensor) -> tf.Tensor:
        for each in maps:
            x = each.apply(x)
        return x

    def transpose(y: tf.Tensor) -> tf.Tensor:
        for each in reversed(maps):
            y = each.transpose(y)
        return y

    return Linear(apply, transpose)
