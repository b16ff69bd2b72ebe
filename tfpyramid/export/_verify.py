"""Check that a written SavedModel computes the model's outputs without Python; find the layer that does not."""

from __future__ import annotations

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid._compat import keras
from tfpyramid.export import _read_back
from tfpyramid.export._endpoint import Function, endpoint, input_specs
from tfpyramid.export._standalone import forget_gradients, found_in_process


class Problem(NamedTuple):
    """The part of a model, a signature or a layer, that does not survive the export, and the reason."""

    part: str
    reason: str


def difference(
    path: Path, expected: dict[str, dict[str, np.ndarray]], inputs: dict[str, dict[str, tf.Tensor]]
) -> Problem | None:
    """Return the problem of the first signature with other results after loading than expected, or None.

    The SavedModel is loaded in this process if nothing in it can use the Python of this process; otherwise in a fresh
    interpreter, which takes seconds to start.

    Args:
        path: the SavedModel.
        expected: the result of `_read_back.answer` for each signature.
        inputs: the inputs of each of these signatures.
    """
    given = {f"{key}/{name}": _read_back.as_array(tensor) for key in inputs for name, tensor in inputs[key].items()}
    try:
        if found_in_process(path):
            answers = _answers_of_a_fresh_interpreter(path, given)
        else:
            # A new thread is outside of the scopes that the caller has entered, such as a `tf.distribute.Strategy`'s.
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                answers = thread.submit(_answers_of_this_process, path, given).result()
    except OSError:
        raise
    except Exception as error:  # Any kind: TensorFlow raises many when it loads.
        return Problem(next(iter(expected)), f"it does not load: {reason(error)}")
    for key, arrays in expected.items():
        if f"{key}/error" in answers:
            return Problem(key, f"it does not run when loaded: {reason(answers[f'{key}/error'])}")
        # `_read_back.loss` divides the gradient through each output by the number of its elements.
        sizes = [array.size for name, array in arrays.items() if name.startswith("output/")]
        units = {"output": 1.0, "gradient": sum(1 / max(size, 1) for size in sizes)}
        for name, array in arrays.items():
            kind, _, tensor = name.partition("/")
            if kind == "gradient" and not (tensor in inputs[key] and inputs[key][tensor].dtype.is_floating):
                continue
            if f"{key}/{name}" not in answers:
                return Problem(key, f"its {kind} {tensor!r} is missing when loaded")
            if not _close(array, answers[f"{key}/{name}"], units[kind]):
                return Problem(key, f"its {kind} {tensor!r} differs when loaded")
    return None


def _answers_of_this_process(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    # Without an accelerator, as in the fresh interpreter: a server may have none.
    with tf.device("CPU:0"):
        model = tf.saved_model.load(str(path))
        try:
            return _read_back.answers_of(model, inputs)
        finally:
            forget_gradients(model)


def _answers_of_a_fresh_interpreter(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what `_read_back.answers_of` returns in an interpreter that cannot import this package."""
    # Next to the SavedModel, so that only its disk can be full, and a killed export leaves nothing elsewhere.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inputs_path, answers_path = os.path.join(folder, "inputs.npz"), os.path.join(folder, "answers.npz")
        np.savez(inputs_path, **inputs)  # type: ignore[arg-type]
        run = _in_a_fresh_interpreter(str(path), inputs_path, answers_path)
        if run.returncode == _read_back.NOT_WRITTEN:
            raise OSError(reason(run.stderr))
        if run.returncode != 0:
            raise RuntimeError(reason(run.stderr))
        with np.load(answers_path, allow_pickle=False) as archive:
            return dict(archive)


def _in_a_fresh_interpreter(*paths: str) -> subprocess.CompletedProcess:
    """Run the program of `_read_back` with its three paths."""
    # Without an accelerator: this process may hold it, and a server may have none.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    # TensorFlow's temporary files are written next to the answers, and removed with them.
    environment["TMPDIR"] = os.path.dirname(paths[-1])
    command = [sys.executable, _read_back.__file__, *paths]
    # The program ends when this process closes the pipe; if this process is killed, the kernel closes it.
    watched, held = os.pipe()
    try:
        return subprocess.run(command, stdin=watched, env=environment, capture_output=True, text=True, errors="replace")
    finally:
        os.close(watched)
        os.close(held)


def layer_to_blame(model: keras.Model, inputs: dict[str, tf.Tensor] | None, folder: Path) -> Problem | None:
    """Return the problem of the first layer of `model` up to which the export fails, or None.

    Temporary files are written to `folder`. Without `inputs`, only a layer that cannot be traced is found.
    """
    specs = input_specs(model)
    module, functions, signatures, described = tf.Module(), {}, {}, {}
    for index, layer in enumerate(model.layers):
        try:
            part = keras.Model(model.inputs, layer.output)
        except (AttributeError, ValueError):  # A layer that is used twice has no single output.
            continue
        key = f"layer_{index}"
        described[key] = f"{layer.name!r} ({type(layer).__name__})"
        functions[key] = endpoint(part)

        # Trace it separately from the function above, to find a layer that draws random numbers in Python.
        def by_position(*tensors: tf.Tensor, function: Function = endpoint(part)) -> dict[str, tf.Tensor]:
            return function(dict(zip(specs, tensors)))

        try:
            signatures[key] = tf.function(by_position, autograph=False).get_concrete_function(*specs.values())
            # The module must own the part, so that its variables are saved.
            setattr(module, key, part)
        except Exception as error:  # Any kind: the export has failed, and this layer fails too.
            return Problem(described[key], reason(error))
    if inputs is None:
        return None
    with tempfile.TemporaryDirectory(dir=folder) as parts:
        path = Path(parts, "model")
        tf.saved_model.save(module, str(path), signatures=signatures)
        expected = {key: _read_back.answer(function, inputs) for key, function in functions.items()}
        found = difference(path, expected, dict.fromkeys(expected, inputs))
    return found and Problem(described[found.part], found.reason)


def _close(expected: np.ndarray, actual: np.ndarray, unit: float = 1.0) -> bool:
    """Return whether two results differ only by rounding, of which some is relative to `unit`."""
    if expected.shape != actual.shape or expected.dtype.kind != "f":
        return np.array_equal(expected, actual)
    # Relative to the largest magnitude, because another process may sum in another order, which only rounds.
    tolerance = 2e-2 if expected.dtype == np.float16 else 1e-3
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    # Terms of magnitude `unit` may cancel. Then the results are nothing but rounding, which any order changes.
    floor = np.finfo(expected.dtype).eps * unit
    return np.allclose(actual, expected, rtol=0, atol=max(tolerance * scale, floor), equal_nan=True)


def reason(error: object) -> str:
    """Return the line of a TensorFlow error, or of a traceback, that says what is wrong."""
    # Remove colours, and positions in a graph.
    text = re.sub(r"\x1b\[\d*m|\{\{function_node .*?\}\} |\[\[.*\]\]| ?\[Op:.*?\]", "", str(error))
    text, *_ = re.split(r"(?:Call a|A)rguments received", text)
    lines = [line.strip() for line in re.sub(r"assertion failed: \[(.*)\]", r"\1", text).splitlines() if line.strip()]
    return next(
        (line for line in lines if re.match(r"[\w.]*Error: (?!Graph execution)", line)), lines[-1] if lines else ""
    )
