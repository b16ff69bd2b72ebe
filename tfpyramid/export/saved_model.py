"""export_saved_model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, write_saved_model
from tfpyramid.export._endpoint import Function, endpoint, functional, input_specs, output_names, sample_inputs
from tfpyramid.export._verify import difference, layer_to_blame


def export_saved_model(
    model: keras.Model,
    path: str | Path,
    *,
    sample: Any = None,
    overwrite: bool = False,
    portable: bool = False,
) -> Path:
    """Write a model as a SavedModel for TensorFlow Serving, and make sure that it answers there as it does here.

    The folder has the signature "serving_default" (and the endpoint `serve`, the same function), whose inputs are named
    as the model's inputs and whose outputs are named as its output layers, or as the keys of a model that returns a
    dict. Unknown sizes stay unknown, the straight-through gradients are in it, and nothing of this package is needed to
    load it. Before it is put at `path` it is loaded in a fresh interpreter in which this package cannot be imported,
    and its outputs and the gradients with respect to its inputs are compared with the model's own.

    It is written beside `path` and renamed when all is well, so `path` never holds half a model.

    Args:
        model: a functional or Sequential model, built.
        path: the folder to make, for TensorFlow Serving `.../MODEL_NAME/VERSION`.
        sample: one batch of inputs for the check, structured as the model's inputs: arrays or tensors. By default
            random numbers, with unknown sizes set to a batch of 2 and sides of 65 and 79.
        overwrite: replace a SavedModel that stands at `path`.
        portable: write operations alone that TFLite, ONNX and OpenVINO have too, for their converters. Places on an
            axis are then counted in float32; TensorFlow itself is faster without.

    Returns:
        `path`.

    Raises:
        ValueError: if the model has no symbolic inputs, or `sample` does not fit it, or the written model does not
            answer as the model does; the message then names the layer.
        FileExistsError: if `path` exists, and `overwrite` is False or it is no SavedModel.

    Example:
        >>> image = keras.Input((None, None, 3), name="image")
        >>> model = keras.Model(image, layers.LearnableDownsample2D(name="half")(image))
        >>> path = export_saved_model(model, os.path.join(folder, "small", "1"))
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> tuple(served(image=tf.ones([1, 33, 47, 3]))["half"].shape)
        (1, 17, 24, 3)
    """
    path = Path(path)
    portable = _checks.flag("portable", portable)
    _check_target(path, overwrite)
    model = functional(model)
    inputs = sample_inputs(model, sample)
    function = endpoint(model, output_names(model), portable=portable)
    try:
        function(inputs)
    except Exception as error:
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        raise ValueError(
            f"`sample` must be a batch that the model can answer. Received: inputs of shapes {shapes}, and {error}"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as aside:
        written = Path(aside, "written")
        _write(model, function, inputs, written)
        if path.exists():  # The old one goes with the folder it is moved to.
            path.rename(Path(aside, "replaced"))
        written.rename(path)
    return path


def _write(model: keras.Model, function: Function, inputs: dict[str, tf.Tensor], path: Path) -> None:
    """Write and check the SavedModel; raise the `ValueError` that names the layer if it is not what it should be."""
    specs = input_specs(model)
    failure = None
    try:
        write_saved_model(model, lambda *tensors: function(dict(zip(specs, tensors))), list(specs.values()), path)
        problem = difference(path, {"serving_default": function}, inputs)
    except Exception as error:
        failure, problem = error, ("serving_default", str(error))
    if problem:
        layer, reason = layer_to_blame(model, inputs) or ("as a whole", problem[1])
        raise ValueError(
            "`model` must be made of TensorFlow operations alone, to answer without Python; nothing was written. "
            f"Received: model {model.name!r}, in which layer {layer} does not survive the export: {reason}"
        ) from failure


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"`path` must not exist, unless overwrite=True. Received: path={str(path)!r}")
    if not tf.saved_model.contains_saved_model(str(path)):
        raise FileExistsError(
            f"`path` must be a SavedModel, or nothing, for overwrite=True to replace it. Received: path={str(path)!r}"
        )
