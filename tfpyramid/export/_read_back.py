"""Compute outputs and gradients of a SavedModel: here, or as a program for a fresh interpreter without this package.

    python _read_back.py SAVED_MODEL INPUTS.npz ANSWERS.npz

INPUTS.npz holds `SIGNATURE/NAME`, the inputs of each signature to call. For each signature the program writes to
ANSWERS.npz the outputs, `SIGNATURE/output/NAME`, and the gradients of `loss`, `SIGNATURE/gradient/NAME`; or the text of
an error, `SIGNATURE/error`. The exit status is `NOT_WRITTEN` if ANSWERS.npz could not be written. The program ends when
its standard input is closed.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

NOT_WRITTEN = 74  # EX_IOERR in sysexits.h.


def _exit_with_stdin() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_exit_with_stdin, daemon=True).start()
    # Python puts the folder of a program first in `sys.path`; modules next to this one must not be imported from there.
    sys.path.pop(0)
    sys.modules["tfpyramid"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def answer(function: Callable, inputs: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Return the outputs of `function`, a dict of tensors from a dict of tensors, and the gradients, as arrays."""
    sources = {name: tensor for name, tensor in inputs.items() if tensor.dtype.is_floating}
    with tf.GradientTape() as tape:
        tape.watch(sources)
        outputs = function(inputs)
        objective = loss(outputs)
    try:
        gradients = tape.gradient(objective, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    except LookupError:  # An operation of the model has no gradient.
        gradients = {}
    named = {f"output/{name}": value for name, value in outputs.items()}
    named.update({f"gradient/{name}": value for name, value in gradients.items()})
    return {name: as_array(value) for name, value in named.items()}


def loss(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return a number that depends on every floating output: the sum of their mean squares."""
    floating = [tf.cast(value, tf.float32) for value in outputs.values() if value.dtype.is_floating]
    return tf.add_n([tf.reduce_mean(tf.square(value)) for value in floating] or [tf.constant(0.0)])


def as_array(tensor: tf.Tensor) -> np.ndarray:
    """Return a tensor as an array of a dtype that a .npz file can hold."""
    if tensor.dtype == tf.string:
        return tensor.numpy().astype(np.bytes_)
    return (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()


def answers_of(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays of ANSWERS.npz for a loaded model and the arrays of INPUTS.npz."""
    results: dict[str, Any] = {}
    for key in sorted({name.partition("/")[0] for name in arrays}):
        try:
            signature = model.signatures[key]
            specs = signature.structured_input_signature[1]
            inputs = {name: tf.constant(arrays[f"{key}/{name}"], spec.dtype) for name, spec in specs.items()}
            results.update({f"{key}/{name}": v for name, v in answer(lambda x: signature(**x), inputs).items()})
        except Exception as error:  # Any kind: report to the caller which signature raised it.
            results[f"{key}/error"] = np.array(f"{type(error).__name__}: {error}")
    return results


def answers_of_files(model_path: str, inputs_path: str) -> dict[str, Any]:
    return answers_of(tf.saved_model.load(model_path), dict(np.load(inputs_path, allow_pickle=False)))


def main(model_path: str, inputs_path: str, answers_path: str) -> None:
    np.savez(answers_path, **answers_of_files(model_path, inputs_path))


if __name__ == "__main__":
    answers = answers_of_files(*sys.argv[1:3])
    try:
        np.savez(sys.argv[3], **answers)
    except OSError as error:
        print(f"OSError: {error}", file=sys.stderr)
        sys.exit(NOT_WRITTEN)
