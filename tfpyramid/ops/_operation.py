"""The decorator of every public operation."""

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Function = TypeVar("Function", bound=Callable[..., Any])


def operation(function: Function) -> Function:
    """Return the function, with its name, signature and docstring, such that AutoGraph does not rewrite it.

    If a user traces a function that calls it, AutoGraph would spend seconds on rewriting it and change nothing: no
    operation branches on a tensor or takes a function.
    """
    return tf.autograph.experimental.do_not_convert(function)
