"""export_saved_model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, write_saved_model
from tfpyramid.export import _read_back
from tfpyramid.export._endpoint import Function
from tfpyramid.export._prepare import Export, prepare
from tfpyramid.export._signatures import Signature
from tfpyramid.export._staging import WRITTEN, publish, publish_next, staging_folder
from tfpyramid.export._verify import Problem, difference, layer_to_blame, reason
from tfpyramid.export._versions import NEXT, check_version
from tfpyramid.export._warmup import write_warmup
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
    verify: bool = True,
) -> Path:
    """Write a model as a SavedModel for TensorFlow Serving, and check that it computes the same outputs there.

    The folder has the signature "serving_default" (and the endpoint `serve`, the same function). Its inputs have the
    names of the model's inputs; its outputs have the names of the output layers, or of the keys if the model returns a
    dict. The batch size is open, as in `model.export` of Keras 3. Unknown sizes stay unknown, straight-through
    gradients are saved too, and the server does not need this package. Before the SavedModel is moved to `path`, it is
    checked, as `verify` describes.

    The SavedModel is written to a hidden folder next to `path` and renamed when the check has passed, so `path` never
    holds half a model. An old model is moved to that folder first, and moved back if anything fails. If the process is
    killed between the two renames, the next export to `path` moves the old model back. The next export also removes
    what a killed export left next to `path`; it keeps every folder that this function did not provably make for this
    user. Only one process at a time can export to a path, but several can export with `version="next"`, and each gets
    a number.

    Convention:
        An input's name in a signature is a keyword argument: all characters but ASCII letters, digits and "_" become
        "_", and "arg_" is put before a name that does not begin with a letter, before keywords of Python, and before
        "self". For example, "input-1" becomes "input_1", "1st" becomes "arg_1st", and "my image" becomes "my_image". A
        warning lists the names that changed.
        Outputs keep their names. Several outputs of one layer, or of a list in a dict, are numbered: "levels_0",
        "levels_1". The inputs of a subclassed model have the shapes of its first call; they are named by the keys of
        the dict of that call, otherwise "inputs".

        In the signature "image_bytes", files are PNG or JPEG, detected by their contents, and read as
        `tf.io.decode_image` reads them, in as many channels as the model's input has. Of 16 bits per channel the high 8
        are kept. A palette is looked up. Alpha is dropped, unless the model has 4 channels; then a file without alpha
        is opaque. A CMYK JPEG becomes RGB, and is refused for 1 or 4 channels. An animated PNG is read as its first
        frame. EXIF orientation and colour profiles are ignored. Other files, GIFs, truncated and damaged files, and
        files of more pixels than `Pixels(max_pixels=...)` allows return an error that names the index in the batch.
        Files with too many pixels are refused before they are decoded.

    Args:
        model: a functional or Sequential model, built; or a subclassed model that was called on one argument: an array,
            or a list or dict of arrays.
        path: the folder to make, on a disk of this machine; missing parents are made. With a `version`, the folder that
            TensorFlow Serving watches, in which the numbered folder is made. The folder to make must not be a symbolic
            link: give the folder it points to.
        version: the number of the folder in `path`, at most 2**63 - 1, or "next" for the highest number plus 1, or 1.
            The folder gets its number when it is complete. None means that `path` itself is the folder.
        image_bytes: add the signature "image_bytes". In place of the image it takes a batch of files, as strings
            `image_bytes` of shape [batch]; other inputs are unchanged.
        uint8: add the signature "uint8", which takes bytes in place of every image, or of the image that `pixels`
            names. Without it, clients must send floating-point numbers in the range used in training.
        pixels: the meaning of bytes for both signatures: which input, the size to resize files to, and the range.
        warmup: one batch of inputs, or True for the batch of the check. A request for each signature is saved, which
            TensorFlow Serving runs before it serves (assets.extra/tf_serving_warmup_requests). Requires the `serving`
            extra.
        sample: one batch of inputs for the check and for `warmup=True`, structured as the model's inputs, or a dict by
            their names: arrays or tensors. By default random numbers, with a batch of 2, and 65 and 79 for unknown
            sides.
        overwrite: replace a SavedModel that exists at the target.
        verify: load what was written, on the CPU, and compare it with the model, called outside of a graph. For one
            batch, the outputs of every signature must equal the model's, and so must their gradients with respect to
            floating-point inputs: within 0.1 % of the largest magnitude, or 2 % in float16. Nothing but TensorFlow
            takes part. If the SavedModel names an operation, a gradient or a class that TensorFlow does not have, or an
            operation that calls Python, it is loaded in a fresh interpreter in which this package cannot be imported.
            That takes seconds; otherwise it is loaded in this process. False writes the same files without this check
            and without running the model.
        portable: write only operations that TFLite, ONNX and OpenVINO have too, for their converters. Positions on an
            axis are then computed in float32. TensorFlow itself is faster without this option.

    Returns:
        The folder of the model: `path`, or the numbered folder in it.

    Raises:
        ValueError: an argument breaks a rule above; the inputs of the model are unknown; the model lacks the input that
            a signature needs; two inputs or two outputs get one name; `sample` does not fit the model; or the written
            model computes other outputs than the model. The message then names the layer.
        FileExistsError: the folder exists, and `overwrite` is False or the folder is not a SavedModel.
        ImportError: `warmup` is given without the `serving` extra.
        OSError: the folder cannot be written, for example because the disk is full or another process is writing it.

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
    export = prepare(
        model,
        pixels=pixels,
        image_bytes=_checks.flag("image_bytes", image_bytes),
        uint8=_checks.flag("uint8", uint8),
        warmup=warmup,
        sample=sample,
        portable=_checks.flag("portable", portable),
        verify=_checks.flag("verify", verify),
    )
    with contextlib.ExitStack() as stack:
        with _disk_errors(path):
            staging = stack.enter_context(staging_folder(target, is_next=is_next))
        if not is_next:  # Check again: `staging_folder` may have moved back the model of a killed export.
            _check_target(target, overwrite)
        with _disk_errors(path):
            _write(export, staging / WRITTEN)
            return publish_next(staging, Path(path)) if is_next else publish(staging, target, overwrite)


def _target(path: str | Path, version: Any) -> tuple[Path, bool]:
    """Return the folder to write, and whether it is the next version, which has no number yet."""
    folder = _checks.local_path("path", path, named=version is None)
    try:
        version = check_version(folder, version)
        target = folder if version is None else folder / str(version)
        for each in (target, folder):
            if each.is_symlink() and (each is target or not each.exists()):
                raise ValueError(
                    "`path` must not be a symbolic link, because the link would be replaced instead of the folder it "
                    f"points to. Give that folder. Received: path={str(each)!r}, a link to {os.readlink(each)!r}"
                )
    except OSError as error:
        raise OSError(f"`path` must be readable. Received: path={str(folder)!r}, which raised: {error}") from error
    return target, version == NEXT


@contextlib.contextmanager
def _disk_errors(path: str | Path) -> Iterator[None]:
    """Name `path` in the errors of its disk."""
    try:
        yield
    except OSError as error:
        raise OSError(
            "`path` must be on a disk with enough space and in a folder that can be written; nothing was written. "
            f"Received: path={str(path)!r}, which raised: {error}"
        ) from error


def _write(export: Export, path: Path) -> None:
    """Write the SavedModel and check it; raise a `ValueError` that names the layer if the check fails."""
    failure = None
    try:
        _save(export, path)
        expected = {
            name: _read_back.answer(export.function, export.signatures[name].decode(inputs))
            for name, inputs in export.encoded.items()
        }
        problem = difference(path, expected, export.encoded) if expected else None
    except Exception as error:
        # If the disk is full, TensorFlow raises an error of its own, which names the file that did not fit.
        if isinstance(error, tf.errors.OpError) and str(path) in str(error):
            raise OSError(reason(error)) from error
        if isinstance(error, OSError):
            raise
        failure, problem = error, Problem("serving_default", reason(error))
    if problem is not None:
        raise _lost_in_export(export, problem, path.parent) from failure


def _save(export: Export, path: Path) -> None:
    functions = {
        name: (_by_position(export.function, signature), list(signature.specs.values()))
        for name, signature in export.signatures.items()
    }
    # Keras names the signature of the first endpoint "serving_default" too.
    write_saved_model(export.model, {"serve": functions.pop("serving_default"), **functions}, path)
    if export.requests is not None:
        write_warmup(path, export.requests)


def _lost_in_export(export: Export, problem: Problem, folder: Path) -> ValueError:
    """Return the error for a written model that differs from the model; it names the layer if one can be found."""
    part = f"the signature {problem.part!r}"
    if problem.part == "serving_default":  # The other signatures only add the decoding of their inputs.
        layer_problem = layer_to_blame(export.model, export.inputs, folder)
        if layer_problem is not None:
            part, problem = f"its layer {layer_problem.part}", layer_problem
    return ValueError(
        "`model` must consist of TensorFlow operations, because a server does not run Python; nothing was written. "
        f"Received: model {export.model.name!r}; {part} does not survive the export: {problem.reason}"
    )


def _by_position(function: Function, signature: Signature) -> Callable[..., dict[str, tf.Tensor]]:
    return lambda *tensors: function(signature.decode(dict(zip(signature.specs, tensors))))


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"`path` must not exist unless overwrite=True. Received: path={str(path)!r}")
    if not tf.saved_model.contains_saved_model(str(path)):
        raise FileExistsError(
            f"`path` must be a SavedModel, because overwrite=True replaces nothing else. Received: path={str(path)!r}"
        )
