"""How many nodes the graphs of layers that sample have: those of the graph and of each function that it reaches."""

import pytest
import tensorflow as tf

from tests.graph_size import count_operations
from tfpyramid import layers


@pytest.mark.parametrize(
    "layer, border, channels, most",
    [
        ("warp", "constant", 3, 280),
        ("warp", "reflect", 3, 420),
        ("warp", "constant", 64, 450),  # Half of them are the form for GPUs, or that for CPUs.
        ("hard", "constant", 3, 980),
    ],
)
def test_a_step_has_few_nodes(layer, border, channels, most):
    make = {
        "warp": lambda: layers.Warp2D(border=border),
        "hard": lambda: layers.SpatialTransformerDownsample2D(hard=True, border=border),
    }
    inputs = [tf.TensorSpec([2, 64, 64, channels])] + [tf.TensorSpec([2, 64, 64, 2])] * (layer == "warp")
    layer = make[layer]()
    layer.build([spec.shape for spec in inputs] if len(inputs) > 1 else inputs[0].shape)

    def step(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = layer(list(tensors) if len(tensors) > 1 else tensors[0])
        return tape.gradient(y, [*tensors, *layer.trainable_variables])

    assert count_operations(step, *inputs) <= most
