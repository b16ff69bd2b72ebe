"""The calls that bench_routing.py measures: a router or a cascade of the encoders of `pyramid_vlm`, and its peers."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import layers, models

OURS, ALONE, FINEST = "tfpyramid", "encoders alone", "always the finest"
NUM_LEVELS, SIDE = 4, 64
# The level that answers each sample, repeated for larger batches: most questions of easy-VQA need few pixels.
LEVELS = (3, 2, 3, 1, 3, 2, 3, 0)


class Asked(tf.keras.layers.Layer):
    """The confidence of a cascade that stops where its query says: the log-odds of one level among those of all."""

    def __init__(self, level: int) -> None:
        super().__init__(name=f"asked_{level}")
        self.level = level

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        return 20 * inputs[1][:, self.level : self.level + 1] - 10

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (input_shape[1][0], 1)


def call(work: str, mode: str, batch: int, contender: str = OURS) -> Callable[[], Any]:
    """Return a call of a "router" or "cascade", or of a peer: "eager", as a "graph", or "loaded" from a SavedModel."""
    chosen = tuple(itertools.islice(itertools.cycle(LEVELS), batch))
    images = tf.constant(np.random.default_rng(0).random([batch, SIDE, SIDE, 3]), tf.float32)
    function, arguments = _contender(work, contender, chosen, images)
    if mode != "eager":
        function = tf.function(function, autograph=False)
    if mode == "loaded":
        specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in arguments]
        module = tf.Module()
        module.call, module.parts = tf.function(function, specs, autograph=False), list(_parts())
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder)
            loaded = tf.saved_model.load(folder)
        return lambda: loaded.call(*arguments)
    return functools.partial(function, *arguments)


def _contender(work: str, contender: str, chosen: tuple[int, ...], images: tf.Tensor) -> tuple[Callable, list]:
    """Return a function, and its arguments."""
    router, cascade = _parts()
    pyramid, encoders = router.pyramid, router.encoders
    if contender == FINEST:
        return lambda x: encoders[0](x), [images]
    if contender == OURS:
        layer = cascade if work == "cascade" else router
        return lambda x, weights: layer([x, weights]), [images, tf.one_hot(chosen, NUM_LEVELS)]
    # The images of each level, split beforehand: what the encoders compute if the partition costs nothing.
    used = [k for k in range(NUM_LEVELS) if k in chosen or (work == "cascade" and k >= min(chosen))]
    samples = {k: [b for b, m in enumerate(chosen) if m == k or (work == "cascade" and m <= k)] for k in used}

    def alone(*inputs: tf.Tensor) -> list[tf.Tensor]:
        parts = dict(zip(used, inputs))
        if work == "cascade":  # The pyramid of all images gives the coarsest level, which all visit.
            for k in range(NUM_LEVELS - 1):
                parts[NUM_LEVELS - 1] = pyramid.next_level(images if k == 0 else parts[NUM_LEVELS - 1], k)
        else:
            parts = {k: functools.reduce(lambda x, j: pyramid.next_level(x, j), range(k), x) for k, x in parts.items()}
        return [encoders[k](x) for k, x in parts.items()]

    given = pyramid(images) if work == "cascade" else [images] * NUM_LEVELS
    return alone, [tf.gather(given[k], samples[k]) for k in used]


@functools.cache
def _parts() -> tuple[layers.LevelRouter, layers.LevelCascade]:
    """Return a router, and a cascade of the same encoders."""
    tf.keras.utils.set_random_seed(0)
    router = models.pyramid_vlm(30, 13, input_shape=(SIDE, SIDE, 3), num_levels=NUM_LEVELS).router
    cascade = layers.LevelCascade(router.encoders, [Asked(k) for k in range(1, NUM_LEVELS)], router.pyramid)
    cascade.build([(None, SIDE, SIDE, 3), (None, NUM_LEVELS)])
    return router, cascade
