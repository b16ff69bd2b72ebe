"""How many nodes the graphs of layers that sample have: those of the graph and of each function that it reaches."""

import pytest
import tensorflow as tf

from tfpyramid import layers


def reachable_nodes(graph):
    definition = graph.as_graph_def()
    library = {function.signature.name: function.node_def for function in definition.library.function}
    reached, waiting = {}, [("", definition.node)]
    while waiting:
        name, nodes = waiting.pop()
        if name not in reached:
            reached[name] = len(nodes)
            called = {node.op for node in nodes}
            called |= {value.func.name for node in nodes for value in node.attr.values()}
            called |= {each.name for node in nodes for value in node.attr.values() for each in value.list.func}
            waiting += [(name, library[name]) for name in called & library.keys()]
    return sum(reached.values())


@pytest.mark.parametrize(
    "layer, border, channels, most",
    [
        ("warp", "constant", 3, 280),
        ("warp", "reflect", 3, 420),
        ("warp", "constant", 64, 310),
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

    graph = tf.function(step, autograph=False).get_concrete_function(*inputs).graph
    assert reachable_nodes(graph) <= most
