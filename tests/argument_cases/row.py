"""One row of the table of arguments."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

IMAGES = np.float32(np.arange(50).reshape(1, 5, 5, 2) / 64)
LEVELS = [IMAGES, IMAGES[:, ::2, ::2]]


def result_itself(result: Any) -> Any:
    return result


@dataclasses.dataclass(frozen=True)
class Row:
    """A valid call of one public function or class.

    Attributes:
        function: what is called.
        arguments: makes the arguments of a valid call, every one that there is, by name.
        inputs: what a layer is called with.
        use: works with the result, and returns what two calls of equal meaning must have in common.
        stopped: dotted names of functions that work after all arguments are checked. They are replaced where an
            argument is tried, since a training or an export for each value would take hours.
        stopped_for_odd_values: such functions that take a tenth of a second; other forms of a right value run them.
        without: arguments of a base class that this class sets itself.
        no_lists: arguments whose arrays cannot be given as lists.
        arrays_only: arguments whose arrays cannot be given as lists, tensors or variables.
        raises: errors beside `ValueError` and `TypeError` that name the argument, such as `FileExistsError`.
        label: tells two rows of one function apart.
    """

    function: Callable
    arguments: Callable[[], dict[str, Any]]
    inputs: Any = None
    use: Callable[[Any], Any] = result_itself
    stopped: tuple[str, ...] = ()
    stopped_for_odd_values: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    no_lists: frozenset[str] = frozenset()
    arrays_only: frozenset[str] = frozenset()
    raises: tuple[type[Exception], ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        return f"{self.function.__name__}{self.label and '-' + self.label}"

    def call(self, **changed: Any) -> Any:
        return self.use(self.function(**{**self.arguments(), **changed}))


def parameters(function: Callable) -> set[str]:
    """Return the names of all arguments: for a class also of those that it hands on to its base classes of ours."""
    signatures = [inspect.signature(function)]
    if inspect.isclass(function):
        ours = [base for base in function.__mro__ if base.__module__.startswith("tfpyramid")]
        signatures += [inspect.signature(base.__init__) for base in ours if "__init__" in vars(base)]
    found = {name: each for signature in signatures for name, each in signature.parameters.items()}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name for name, each in found.items() if each.kind not in variadic and name != "self"}
