"""export_saved_model."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid._compat import keras, write_saved_model
from tfpyramid.export import _read_back
from tfpyramid.export._aside import WRITTEN, aside, put, put_next
from tfpyramid.export._endpoint import Function, endpoint, functional, input_specs, sample_inputs
from tfpyramid.export._names import input_names, output_names
from tfpyramid.export._signatures import Inputs, Signature, signatures
from tfpyramid.export._verify import difference, layer_to_blame, reason
from tfpyramid.export._versions import NEXT, check_version
from tfpyramid.export._warmup import protos, write_warmup
from tfpyramid.export.pixels import Pixels


def export_saved_model(
    model: keras.Model,
    path: str | Path,
    *,
    version: int | str | None = None,
    image_bytes: bool = False,
    uint8: bool = False,
    pixels: Pixels = Pixels(),
    warmup: Any = None,
    sample: Any = None,
    overwrite: bool = False,
    portable: bool = False,
) -> Path:
    """Write a model as a SavedModel for TensorFlow Serving, and make sure that it answers there as it does here.

    The folder has the signature "serving_default" (and the endpoint `serve`, the same function). Its inputs have the
    names of the model's inputs, and its outputs those of the output layers, or of the keys if the model returns a dict.
    The batch is open, as `model.export` of Keras 3 writes it. Unknown sizes stay unknown, straight-through gradients
    are in it, and nothing of this package is needed to load it. Before it is put at `path` it is loaded in a fresh
    interpreter in which this package cannot be imported, and what its signatures answer, and the gradients with respect
    to their inputs, are compared with the model's own.

    The SavedModel is written to a hidden folder next to `path` and renamed when it has passed, so `path` never holds
    half a model. An old model is moved into that folder before, and moved back if anything fails; if the process is
    killed between the two renames, the next export to `path` moves it back. The next export also removes what a killed
    one has left next to `path`; a folder that was not provably made by this function for this user stays. Only one
    process at a time can export to a path, but several can export with `version="next"`, and each gets a number.

    Convention:
        An input's name in a signature is a keyword argument: all but ASCII letters, digits and "_" become "_", and
        "arg_" is put before a name that does not begin with a letter, before keywords of Python, and before "self". So
        "input-1" becomes "input_1", "1st" becomes "arg_1st", "my image" becomes "my_image"; a warning tells which names
        changed.
        Outputs keep their names. The outputs of one layer are numbered, "levels_0", "levels_1"; so are those of a list
        in a dict. A subclassed model has the shapes of its first call, an input for each key of a dict, else "inputs".

        In the signature "image_bytes", files are PNG or JPEG, told apart by their contents, and read as
        `tf.io.decode_image` reads them, in as many channels as the model's input has: of 16 bits a channel the high 8
        are kept; a palette is looked up; alpha is dropped, or opaque where the model has 4 channels and the file none;
        a JPEG of CMYK becomes RGB, and is refused for 1 or 4 channels; of a PNG that moves, the first picture is read.
        Orientation in EXIF and colour profiles are not read. Anything else, a GIF, and a file that is cut short are
        answered with an error that names its index in the batch; so are damaged files, and files of more pixels than
        `Pixels(max_pixels=...)` allows, which are refused before they are decoded.

    Args:
        model: a functional or Sequential model, built; or a subclassed one that was called on one argument: an array,
            or a list or dict of arrays.
        path: the folder to make, on a disk of this machine; with a `version` the folder that TensorFlow Serving
            watches, to make it in. The folder to make must not be a symbolic link: give the folder it points to.
        version: the number of the folder in `path`, at most 2**63 - 1, or "next" for the one behind the highest there,
            from 1. It gets its name last, when it can be served. None if `path` is the folder itself.
        image_bytes: add the signature "image_bytes", which takes in place of the image a batch of files, as strings
            `image_bytes` of [batch]; other inputs stay as they are.
        uint8: add the signature "uint8", which takes bytes in place of every image, or of the one that `pixels` names.
            Without it, clients must send floating point numbers in the range of the training.
        pixels: what bytes mean to the model, for both: which input, the size to resize files to, and the range.
        warmup: one batch of inputs, or True for that of the check, to write a request for each signature, which
            TensorFlow Serving answers before it serves (assets.extra/tf_serving_warmup_requests). Needs the `serving`
            extra.
        sample: one batch of inputs for the check, structured as the model's inputs, or a dict by their names: arrays or
            tensors. By default random numbers, with unknown sizes set to a batch of 2 and sides of 65 and 79.
        overwrite: replace a SavedModel that stands in the place of the new one.
        portable: write operations alone that TFLite, ONNX and OpenVINO have too, for their converters. Places on an
            axis are then counted in float32; TensorFlow itself is faster without.

    Returns:
        The folder of the model: `path`, or the numbered folder in it.

    Raises:
        ValueError: if the model does not know its inputs, or has none that a signature asks for, or two inputs or two
            outputs get one name, or `sample` does not fit it, or an argument breaks a rule above; or if the written
            model does not answer as the model does: the message then names the layer.
        FileExistsError: if the folder exists, and `overwrite` is False or it is no SavedModel.
        ImportError: if `warmup` is given without the `serving` extra.
        OSError: if it cannot be written, as on a disk that is full, or because another process is writing it.

    Example:
        >>> image = keras.Input((None, None, 3), name="image")
        >>> model = keras.Model(image, layers.LearnableDownsample2D(name="half")(image))
        >>> path = export_saved_model(model, os.path.join(folder, "small"), version="next", image_bytes=True)
        >>> path.name
        '1'
        >>> served = tf.saved_model.load(path).signatures
        >>> tuple(served["serving_default"](image=tf.ones([1, 33, 47, 3]))["half"].shape)
        (1, 17, 24, 3)
        >>> photo = tf.io.encode_jpeg(tf.zeros([33, 47, 3], tf.uint8))
        >>> tuple(served["image_bytes"](image_bytes=photo[None])["half"].shape)
        (1, 17, 24, 3)
    """
    target, is_next = _target(path, version)
    overwrite = _checks.flag("overwrite", overwrite)
    if not is_next:
        _check_target(target, overwrite)
    warmup = _plain.plain(warmup) if getattr(warmup, "shape", None) == () else warmup
    if warm := warmup is not None and warmup is not False:
        protos()
    portable = _checks.flag("portable", portable)
    model = functional(model)
    _tell_names(model)
    forms = signatures(
        input_specs(model),
        pixels,
        image_bytes=_checks.flag("image_bytes", image_bytes),
        uint8=_checks.flag("uint8", uint8),
    )
    function = endpoint(model, output_names(model), portable=portable)
    inputs = _answered(function, sample_inputs(model, sample, pixels=pixels), "model" if sample is None else "sample")
    given = {name: form.encode(inputs) for name, form in forms.items()}
    requests = given if warm else None
    if warm and warmup is not True:
        batch = _answered(function, sample_inputs(model, warmup, "warmup"), "warmup")
        requests = {name: form.encode(batch) for name, form in forms.items()}
    with contextlib.ExitStack() as stack:
        with _writable(path):
            folder = stack.enter_context(aside(target, shared=is_next))
        if not is_next:  # Again, because a killed export may have left it elsewhere.
            _check_target(target, overwrite)
        with _writable(path):
            _write(model, function, forms, inputs, given, requests, folder / WRITTEN)
            return put_next(folder, Path(path)) if is_next else put(folder, target, overwrite)


def _target(path: str | Path, version: Any) -> tuple[Path, bool]:
    """Return the folder to write, and whether that is the next version, not numbered yet; raise if there is none."""
    found = _checks.path("path", path)
    if "://" in found:
        raise ValueError(
            "`path` must be on a disk of this machine: export there, and copy the folder. "
            f"{_checks.received('path', found)}"
        )
    try:
        version = check_version(Path(found), version)
        target = Path(found) if version is None else Path(found, str(version))
        if target.name in ("", ".."):
            raise ValueError(f"`path` must end in the name of the folder to make. {_checks.received('path', found)}")
        for each in (target, Path(found)):
            if each.is_symlink() and (each is target or not each.exists()):
                raise ValueError(
                    "`path` must not be a symbolic link, which would be replaced in place of the folder it points to: "
                    f"give that folder. Received: path={str(each)!r}, a link to {os.readlink(each)!r}"
                )
    except OSError as error:
        raise OSError(f"`path` must be readable. Received: path={found!r}, and {error}") from error
    return target, version == NEXT


@contextlib.contextmanager
def _writable(path: str | Path) -> Iterator[None]:
    """Name `path` in errors of the disk it is on."""
    try:
        yield
    except OSError as error:
        raise OSError(
            "`path` must be where a SavedModel can be written, with room for it and the right to write; nothing was "
            f"written. Received: path={str(path)!r}, and {error}"
        ) from error


def _tell_names(model: keras.Model) -> None:
    """Warn if a signature cannot use the names of the model's inputs."""
    given = (tensor.name for tensor in model.inputs)
    changed = {old: new for old, new in zip(given, input_names(model)) if old != new}
    if changed:
        warnings.warn(
            f"These inputs have other names in the signatures, which take keyword arguments: {changed}", stacklevel=3
        )


def _answered(function: Function, inputs: Inputs, argument: str) -> Inputs:
    """Return `inputs`, which the model must be able to answer."""
    try:
        function(inputs)
    except Exception as error:
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        rule = "be a batch that the model can answer"
        if argument == "model":
            rule = "answer the random batch of the check, or be exported with a `sample` that it can answer"
        raise ValueError(
            f"`{argument}` must {rule}. Received: inputs of shapes {shapes}, and the error: {reason(error)}"
        ) from error
    return inputs


def _write(
    model: keras.Model,
    function: Function,
    forms: dict[str, Signature],
    inputs: Inputs,
    given: dict[str, Inputs],
    requests: dict[str, Inputs] | None,
    path: Path,
) -> None:
    """Write and check the SavedModel; raise the `ValueError` that names the layer if it is not what it should be."""
    failure = None
    try:
        calls = {name: (_by_position(function, form), list(form.specs.values())) for name, form in forms.items()}
        # Keras calls the first of them "serving_default" too.
        write_saved_model(model, {"serve": calls.pop("serving_default"), **calls}, path)
        if requests is not None:
            write_warmup(path, requests)
        expected = {name: _read_back.answer(function, form.decode(given[name])) for name, form in forms.items()}
        problem = difference(path, expected, given)
    except Exception as error:
        # TensorFlow has errors of its own for a disk that is full, with the name of the file that did not fit.
        if isinstance(error, tf.errors.OpError) and str(path) in str(error):
            raise OSError(reason(error)) from error
        if isinstance(error, OSError):
            raise
        failure, problem = error, ("serving_default", reason(error))
    if problem:
        signature, why = problem
        what = f"of which the signature {signature!r}"
        # The others come after it, and add nothing but what becomes of their inputs.
        if signature == "serving_default" and (found := layer_to_blame(model, inputs, path.parent)):
            what, why = f"in which layer {found[0]}", found[1]
        raise ValueError(
            "`model` must be made of TensorFlow operations alone, to answer without Python; nothing was written. "
            f"Received: model {model.name!r}, {what} does not survive the export: {why}"
        ) from failure


def _by_position(function: Function, form: Signature) -> Callable[..., dict[str, tf.Tensor]]:
    return lambda *tensors: function(form.decode(dict(zip(form.specs, tensors))))


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"`path` must not exist, unless overwrite=True. Received: path={str(path)!r}")
    if not tf.saved_model.contains_saved_model(str(path)):
        raise FileExistsError(
            f"`path` must be a SavedModel, or nothing, for overwrite=True to replace it. Received: path={str(path)!r}"
        )
