"""A signature of a SavedModel as a function of image files, some of which may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Union

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.export._decode import decode_image
from tfpyramid.export._verify import reason
from tfpyramid.export.load import load_signature
from tfpyramid.export.pixels import Pixels


class Row(NamedTuple):
    """The outputs of a model for the image in a file; `size` is the image's (height, width) in the file."""

    file: str
    size: tuple[int, int]
    outputs: dict[str, np.ndarray]


class DeadLetter(NamedTuple):
    """A file that could not be processed, and the reason."""

    file: str
    reason: str


class _Image(NamedTuple):
    file: str
    size: tuple[int, int]
    pixels: tf.Tensor


Results = Iterator[Union[Row, DeadLetter]]


class Predictor:
    """Applies a model to image files, in batches of images of one size.

    Attributes:
        outputs: the dtype of each output of the model.
    """

    def __init__(self, path: str, signature: str, pixels: Pixels, batch_size: int, max_pixels: int) -> None:
        """Load a SavedModel.

        Raises:
            ValueError: the signature does not take images, or does not return one output per image.
        """
        self._model, self._function = load_signature(path, signature, "model")
        inputs = dict(self._function.structured_input_signature[1])
        where = f"The signature {signature!r} of {path!r}"
        if len(inputs) != 1 or not _takes_images(*inputs.values()):
            listed = {name: f"{spec.dtype.name} {spec.shape}" for name, spec in inputs.items()}
            raise ValueError(
                f"{where} must take one input: a batch of any number of images with 1, 3 or 4 channels, of floating "
                f"point or uint8. Received: inputs {listed}"
            )
        ((self._name, self._spec),) = inputs.items()
        if pixels.input not in (None, self._name):
            raise ValueError(
                f"`pixels` must name the input {self._name!r}, or none. {_checks.received('pixels', pixels)}"
            )
        outputs = self._function.structured_outputs
        self.outputs = {name: spec.dtype for name, spec in sorted(outputs.items())}
        for name, spec in outputs.items():
            if spec.shape.rank == 0 or (spec.shape.rank and spec.shape[0] is not None) or spec.dtype.is_complex:
                raise ValueError(
                    f"{where} must return outputs of shape [batch, ...], one for each image, that are not complex. "
                    f"Received: the output {name!r}, {spec.dtype.name} {spec.shape}"
                )
        self._pixels, self._batch_size = pixels, batch_size
        self._max_pixels = min(max_pixels, pixels.max_pixels or max_pixels)
        height, width, channels = self._spec.shape[1:]
        self._size = pixels.image_size or (None if None in (height, width) else (height, width))
        self._read = tf.function(
            lambda file: self._decode(file, channels), input_signature=[tf.TensorSpec([], tf.string)], autograph=False
        )

    def __call__(self, files: Iterable[tuple[str, Callable[[], bytes]]]) -> Results:
        """Yield a row or a dead letter for each (name, contents) of `files`; their order depends only on `files`."""
        waiting: dict[tuple[int, ...], list[_Image]] = {}
        waiting_pixels = 0
        for file, contents in files:
            try:
                image = self._image(file, contents())
            except (OSError, ValueError, tf.errors.OpError) as error:
                yield DeadLetter(file, reason(error))
                continue
            height, width, _ = shape = tuple(image.pixels.shape)
            batch = waiting.setdefault(shape, [])
            batch.append(image)
            waiting_pixels += height * width
            if len(batch) == self._batch_size:
                waiting_pixels -= len(batch) * height * width
                yield from self._predict(waiting.pop(shape))
            # Images whose sizes all differ never fill a batch, so bound their memory.
            if waiting_pixels > self._max_pixels:
                waiting_pixels = 0
                yield from self._predict_all(waiting)
        yield from self._predict_all(waiting)

    def _decode(self, file: tf.Tensor, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(file, channels, self._max_pixels)
        size = tf.shape(image)[:2]
        return size, tf.image.resize(image, self._size, antialias=True) if self._size else image

    def _image(self, file: str, data: bytes) -> _Image:
        size, pixels = self._read(tf.constant(data))
        if not self._spec.shape[1:].is_compatible_with(pixels.shape):
            raise ValueError(
                f"A file must be an image of shape {self._spec.shape[1:]}. Received: {tuple(pixels.shape)}"
            )
        height, width = size.numpy().tolist()
        return _Image(file, (height, width), pixels)

    def _predict_all(self, waiting: dict[tuple[int, ...], list[_Image]]) -> Results:
        while waiting:
            yield from self._predict(waiting.pop(next(iter(waiting))))

    def _predict(self, images: list[_Image]) -> Results:
        """Apply the model to images of one size together, or to each separately if the model fails on the batch."""
        batch = tf.stack([image.pixels for image in images])
        try:
            tensors = self._function(**{self._name: self._to_input(batch)})
            outputs = {name: tensors[name].numpy() for name in self.outputs}
        except tf.errors.OpError as error:
            if len(images) > 1:
                for image in images:
                    yield from self._predict([image])
            else:
                size = " x ".join(map(str, batch.shape[1:3]))
                yield DeadLetter(images[0].file, f"The model failed on an image of {size} pixels: {reason(error)}")
            return
        for name, output in outputs.items():
            if not output.ndim or len(output) != len(images):
                raise ValueError(
                    "`model` must return outputs of shape [batch, ...], one for each image. Received: a model with the "
                    f"output {name!r} of shape {output.shape} for {len(images)} images"
                )
        for k, image in enumerate(images):
            yield Row(image.file, image.size, {name: output[k] for name, output in outputs.items()})

    def _to_input(self, batch: tf.Tensor) -> tf.Tensor:
        if self._spec.dtype == tf.uint8:
            return batch if batch.dtype == tf.uint8 else tf.cast(tf.round(batch), tf.uint8)
        return self._pixels.values(batch, self._spec.dtype)


def _takes_images(spec: tf.TensorSpec) -> bool:
    known = spec.shape.rank == 4 and spec.shape[0] is None and spec.shape[3] in (1, 3, 4)
    return known and (spec.dtype.is_floating or spec.dtype == tf.uint8)
