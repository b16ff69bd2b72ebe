"""How large graphs are."""

import tensorflow as tf


def count_operations(function, *signature):
    """Return the number of operations of a graph and of the functions that it calls, each counted once."""
    definition = tf.function(function, signature, autograph=False).get_concrete_function().graph.as_graph_def()
    library = {each.signature.name: each.node_def for each in definition.library.function}
    nodes, seen = list(definition.node), set()
    for node in nodes:  # It grows.
        names = {node.op}
        for value in node.attr.values():
            names |= {value.func.name, *(each.name for each in value.list.func)}
        for name in names & library.keys() - seen:
            seen.add(name)
            nodes.extend(library[name])
    return len(nodes)


def with_gradient(function):
    """Return a function that computes `function` and the gradient of its first argument."""

    def both(x, *arguments):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, *arguments)
        return y, tape.gradient(y, x)

    return both
