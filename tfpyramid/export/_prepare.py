"""All of an export that needs no disk: the signatures of a model, and the inputs to check them with."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

from tfpyramid import _plain
from tfpyramid._compat import keras
from tfpyramid.export._endpoint import Function, endpoint, functional, input_specs, sample_inputs
from tfpyramid.export._names import input_names, output_names
from tfpyramid.export._signatures import Inputs, Signature, signatures
from tfpyramid.export._verify import reason
from tfpyramid.export._warmup import import_protos
from tfpyramid.export.pixels import Pixels


@dataclasses.dataclass(frozen=True)
class Export:
    """What to write, and the inputs to check it with.

    Attributes:
        model: the functional model.
        function: the model as a function of named tensors.
        signatures: the signatures by name.
        inputs: the batch of the check, as the model takes it; None for no check.
        encoded: the batch of the check, as each signature takes it; empty for no check.
        requests: the warm-up batch, as each signature takes it; None for no warm-up.
    """

    model: keras.Model
    function: Function
    signatures: dict[str, Signature]
    inputs: Inputs | None
    encoded: dict[str, Inputs]
    requests: dict[str, Inputs] | None


def prepare(
    model: Any,
    *,
    pixels: Pixels,
    image_bytes: bool,
    uint8: bool,
    warmup: Any,
    sample: Any,
    portable: bool,
    verify: bool,
) -> Export:
    """Return the export of a model; raise for every argument that is wrong before anything is written."""
    warmup = _warmup(warmup)
    model = functional(model)
    _warn_of_changed_names(model)
    by_name = signatures(input_specs(model), pixels, image_bytes=image_bytes, uint8=uint8)
    function = endpoint(model, output_names(model), portable=portable)

    def batches(given: Any, argument: str) -> tuple[Inputs, dict[str, Inputs]]:
        inputs = sample_inputs(model, given, argument, pixels)
        _check_runs(function, inputs, "model" if given is None else argument)
        return inputs, {name: signature.encode(inputs) for name, signature in by_name.items()}

    inputs, encoded = batches(sample, "sample") if verify or warmup is True or sample is not None else (None, {})
    requests = encoded if warmup is True else None if warmup is None else batches(warmup, "warmup")[1]
    return Export(model, function, by_name, inputs if verify else None, encoded if verify else {}, requests)


def _warmup(value: Any) -> Any:
    """Return a batch, True for the batch of the check, or None for no warm-up; raise if its extra is missing."""
    if getattr(value, "shape", None) == ():
        value = _plain.plain(value)
    if value is None or value is False:
        return None
    import_protos()
    return value


def _warn_of_changed_names(model: keras.Model) -> None:
    """Warn if the names of the model's inputs are not valid in a signature."""
    given = (tensor.name for tensor in model.inputs)
    changed = {old: new for old, new in zip(given, input_names(model)) if old != new}
    if changed:
        warnings.warn(
            f"Signatures take inputs as keyword arguments, so these inputs are renamed in them: {changed}",
            stacklevel=4,
        )


def _check_runs(function: Function, inputs: Inputs, argument: str) -> None:
    """Raise `ValueError`, which names the `argument`, if the model fails on `inputs`."""
    try:
        function(inputs)
    except Exception as error:
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        rule = "be a batch that the model can process"
        if argument == "model":
            rule = "process the random batch of the check. Pass a `sample` that it can process"
        raise ValueError(
            f"`{argument}` must {rule}. Received: inputs of shapes {shapes}, which raised: {reason(error)}"
        ) from error
