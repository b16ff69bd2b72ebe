"""The names of the inputs and outputs of an export."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfpyramid._compat import keras, producer


def argument_name(name: str) -> str:
    """Return the name of an input in a signature, in which clients pass it as a keyword argument.

    TensorFlow replaces the same characters by itself, but fails on some names.
    """
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    reserved = keyword.iskeyword(name) or name == "self"
    return f"arg_{name}" if reserved or not name[:1].isalpha() else name


def input_names(model: keras.Model) -> list[str]:
    """Return the name of each input in a signature, in the order of `model.inputs`.

    Raises:
        ValueError: two inputs get the same name.
    """
    given = [tensor.name for tensor in model.inputs]
    names = [argument_name(name) for name in given]
    _check_distinct(names, "inputs", "where all characters but ASCII letters, digits and '_' become '_'", given)
    return names


def output_names(model: keras.Model) -> list[str]:
    """Return a name for each output: its key in a dict, or the name of its layer, with a number if that repeats.

    Raises:
        ValueError: two outputs get the same name.
    """
    if isinstance(model.output, Mapping):
        names = ["_".join(path) for path in _paths(model.output)]
    else:
        made_by = [producer(tensor).name for tensor in model.outputs]
        names = [f"{n}_{made_by[:k].count(n)}" if made_by.count(n) > 1 else n for k, n in enumerate(made_by)]
    _check_distinct(names, "outputs", "where several outputs of a layer, or of a list in a dict, are numbered", names)
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
    # TensorFlow converts the names of arguments to lower case.
    lower = [name.lower() for name in names]
    repeated = [name for name, each in zip(names, lower) if lower.count(each) > 1]
    if repeated:
        raise ValueError(
            f"`model` must have {what} with different names in a signature, {rule}, and case is ignored. Rename one of "
            f"them. Received: {what} {given}; {len(repeated)} of them are named {sorted(set(repeated))}"
        )
