"""The names of the inputs and outputs of an export."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfpyramid._compat import keras, producer


def argument_name(name: str) -> str:
    """Return the name that a signature gives to an input, which clients pass as a keyword argument.

    TensorFlow replaces the same characters, but fails on some names, and on others of its own.
    """
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    taken = keyword.iskeyword(name) or name == "self"
    return f"arg_{name}" if taken or not name[:1].isalpha() else name


def input_names(model: keras.Model) -> list[str]:
    """Return the name in a signature of each input, in the order of `model.inputs`.

    Raises:
        ValueError: if two inputs get one name.
    """
    given = [tensor.name for tensor in model.inputs]
    names = [argument_name(name) for name in given]
    _check_distinct(names, "inputs", "where all but ASCII letters, digits and '_' becomes '_'", given)
    return names


def output_names(model: keras.Model) -> list[str]:
    """Return a name for each output: the key of a dict, or the layer it comes from, numbered where that repeats.

    Raises:
        ValueError: if two outputs get one name.
    """
    if isinstance(model.output, Mapping):
        names = ["_".join(path) for path in _paths(model.output)]
    else:
        made_by = [producer(tensor).name for tensor in model.outputs]
        names = [f"{n}_{made_by[:k].count(n)}" if made_by.count(n) > 1 else n for k, n in enumerate(made_by)]
    _check_distinct(names, "outputs", "where those of one layer, or of one list in a dict, are numbered", names)
    return names


def _paths(structure: Any) -> Iterator[list[str]]:
    """Yield the keys and indices that lead to each tensor of nested dicts and lists, in the order of `tf.nest`."""
    if isinstance(structure, Mapping):
        children = [(str(key), structure[key]) for key in sorted(structure)]
    elif isinstance(structure, (list, tuple)):
        children = [(str(k), child) for k, child in enumerate(structure)]
    else:
        yield []
        return
    for key, child in children:
        for path in _paths(child):
            yield [key, *path]


def _check_distinct(names: list[str], what: str, rule: str, given: list[str]) -> None:
    # TensorFlow lower-cases the names of arguments.
    lower = [name.lower() for name in names]
    repeated = [name for name, each in zip(names, lower) if lower.count(each) > 1]
    if repeated:
        raise ValueError(
            f"`model` must have {what} of different names in a signature, {rule} and upper case is no difference: "
            f"rename one of them. Received: {what} {given}, of which {len(repeated)} are named {sorted(set(repeated))}"
        )
