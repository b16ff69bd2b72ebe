"""PyramidMonitor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid._compat import keras, nested_layers, raw, training_loss
from tfpyramid.layers import downsampling, protocols

KERNEL_LAYERS = tuple(getattr(downsampling, name) for name in downsampling.__all__)
MOST_KERNELS = 16


class PyramidMonitor(keras.callbacks.Callback):
    """Record the temperatures, gradient norms, level usage and kernels of a pyramid after each epoch of training.

    It adds scalars to `history` and writes scalars and images for TensorBoard. LAYER is the name of a layer:

    * `temperature/LAYER`: the temperature of each layer that has one;
    * `gradient_norm/LAYER/level_k`: the gradient norm of the weights of level k, which are the downsampler before it in
      a pyramid, or its layer in a `PerLevel` or `PyramidConv2D` without shared weights. Weights that the levels of a
      pyramid share are recorded as `gradient_norm/LAYER/shared`;
    * `level_usage/LAYER/level_k`: the mean over the sample of the result of the layer's method `level_usage(outputs)`,
      [batch, levels]. These are the weights of a selector or the gates of an adaptive depth;
    * `kernel/LAYER`, in TensorBoard only: images of the kernels of downsamplers, from the smallest value in black to
      the largest in white.

    Convention:
        Gradients are computed from the loss of `sample` in training mode, and recorded before clipping. The callback
        then restores the variables that this pass changes (moving averages, and in Keras 3 the states of random
        generators). Level usage is computed at inference, for layers directly in the model, which must be functional.

    Args:
        log_dir: path of a folder for TensorBoard, which need not be installed; None writes no files.
        sample: a small batch (x, y) or (x, y, sample_weight), as for `fit`; None records no gradients and no usage.

    Raises:
        ValueError: if an argument breaks a rule above; when training begins, if `sample` does not fit the model.

    Example:
        >>> image = keras.Input((8, 8, 1))
        >>> model = keras.Model(image, layers.UpsampleConcat()(layers.LearnablePyramid(2, name="pyramid")(image)))
        >>> model.compile("sgd", "mse")
        >>> x, y = tf.random.uniform([4, 8, 8, 1]), tf.random.uniform([4, 8, 8, 2])
        >>> history = model.fit(x, y, verbose=0, callbacks=[training.PyramidMonitor(folder, sample=(x, y))]).history
        >>> list(history)
        ['loss', 'gradient_norm/pyramid/level_1']
    """

    def __init__(self, log_dir: Any = None, *, sample: tuple | None = None) -> None:
        super().__init__()
        self.log_dir = _checked_folder(log_dir)
        self.sample = None if sample is None else _checked_sample(sample)
        self._is_checked = False
        self._writer: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._is_checked = False
        if self.model.built:
            self._check_sample()
        if self.log_dir is not None:
            self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._check_sample()  # The first batch may have built the model.

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        scalars = {**self._temperatures(), **self._gradient_norms(), **self._level_usage()}
        if logs is not None:
            logs.update(scalars)
        if self._writer is None:
            return
        with self._writer.as_default():
            for name, value in scalars.items():
                _write(name, tf.constant(value, tf.float32), epoch, plugin="scalars", data_class=1)
            for name, pictures in self._kernels():
                _write(name, _encoded(pictures), epoch, plugin="images", data_class=3)
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _check_sample(self) -> None:
        """Raise `ValueError` if the model cannot train on the sample."""
        if self._is_checked or self.sample is None:
            return
        self._is_checked = True
        try:
            with _restored(self.model):
                training_loss(self.model, *self.sample)
        except Exception as error:  # Keras and TensorFlow raise different errors for different mistakes.
            shapes = tf.nest.map_structure(lambda part: tuple(part.shape), self.sample)
            raise ValueError(
                f"`sample` must be a batch that the model can train on, as for `fit`. Received: sample of shapes "
                f"{shapes}: {str(error)[:500]}"
            ) from error

    def _temperatures(self) -> dict[str, float]:
        found = [(layer.name, protocols.temperature_of(layer)) for layer in nested_layers(self.model)]
        return {f"temperature/{name}": float(raw(weight)) for name, weight in found if weight is not None}

    def _gradient_norms(self) -> dict[str, float]:
        groups = dict(self._variables_of_levels())
        if self.sample is None or not groups:
            return {}
        variables = {id(v): raw(v) for group in groups.values() for v in group}
        with _restored(self.model), tf.GradientTape() as tape:
            loss = training_loss(self.model, *self.sample)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {
            f"gradient_norm/{name}": float(tf.linalg.global_norm([gradients[id(v)] for v in group]))
            for name, group in groups.items()
        }

    def _variables_of_levels(self) -> Iterator[tuple[str, list]]:
        """Yield the trainable variables of each level, for each layer that contains a layer for each level."""
        for layer in nested_layers(self.model):
            for level, part in protocols.layers_of_levels(layer):
                if part.trainable_variables:
                    yield f"{layer.name}/{level}", list(part.trainable_variables)

    def _level_usage(self) -> dict[str, float]:
        layers = getattr(self.model, "layers", [])
        watched = {layer.name: layer for layer in layers if protocols.has_level_usage(layer)}
        if self.sample is None or not watched or not getattr(self.model, "inputs", None):
            return {}
        # Keras unwraps a list of one output, but not a dict of one.
        model = keras.Model(self.model.input, {name: layer.output for name, layer in watched.items()})
        usage = {}
        for name, output in model(self.sample[0], training=False).items():
            means = np.mean(tf.cast(watched[name].level_usage(output), tf.float32), axis=0)
            usage.update({f"level_usage/{name}/level_{k}": float(mean) for k, mean in enumerate(means)})
        return usage

    def _kernels(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the kernels of each downsampler as images [kernels, rows, columns, 1] with values from 0 to 1."""
        for layer in nested_layers(self.model):
            name = protocols.kernel_attribute(layer) if isinstance(layer, KERNEL_LAYERS) else None
            kernel = None if name is None else getattr(layer, name)
            if kernel is None or len(kernel.shape) != 4:
                continue
            values = np.transpose(np.asarray(raw(kernel), np.float32), (2, 3, 0, 1))
            values = np.reshape(values, (-1, *values.shape[2:], 1))[:MOST_KERNELS]
            lowest, highest = values.min(), values.max()
            yield f"kernel/{layer.name}", (values - lowest) / max(highest - lowest, np.finfo(np.float32).tiny)


def _checked_folder(value: Any) -> str | None:
    if value is None:
        return None
    path = _plain.path_text(value)
    if path is None:
        raise ValueError(f"`log_dir` must be None or the path of a folder. {_checks.received('log_dir', value)}")
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"`log_dir` must be the path of a folder. Received: log_dir={value!r}, a file")
    return path


def _checked_sample(value: Any) -> tuple:
    """Return (x, y, sample_weight) as tensors; raise `ValueError` unless all have the same number of samples, above 0.

    Whether they fit the model is checked when training begins.
    """
    rule = "`sample` must be None, (x, y) or (x, y, sample_weight)"
    if not isinstance(value, (list, tuple)) or len(value) not in (2, 3):
        raise ValueError(f"{rule}. Received: sample of type {type(value).__name__}")
    if len(value) == 3 and value[2] is None:
        value = value[:2]
    try:
        sample = tuple(tf.nest.map_structure(tf.convert_to_tensor, part) for part in value)
    except (TypeError, ValueError) as error:
        kinds = [type(part).__name__ for part in value]
        raise ValueError(f"{rule}, with numbers. Received: sample of types {kinds}: {str(error)[:200]}") from error
    shapes = [tuple(part.shape) for part in tf.nest.flatten(sample)]
    if not shapes or not all(shapes) or len({shape[0] for shape in shapes}) != 1 or shapes[0][0] == 0:
        raise ValueError(f"{rule}, each with the same number of samples, above 0. Received: sample of shapes {shapes}")
    return sample


@contextlib.contextmanager
def _restored(model: keras.Model) -> Iterator[None]:
    """Restore the variables that a pass in training mode changes."""
    saved = [(v, raw(v).numpy()) for v in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, value in saved:
            variable.assign(value)


def _write(name: str, value: tf.Tensor, step: int, *, plugin: str, data_class: int) -> None:
    """Write a value for a plugin of TensorBoard; `tf.summary.scalar` and `tf.summary.image` require TensorBoard."""
    metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
    metadata.plugin_data.plugin_name = plugin
    tf.summary.write(name, value, step=step, metadata=metadata)


def _encoded(pictures: np.ndarray) -> tf.Tensor:
    """Encode images [n, rows, columns, 1] from 0 to 1 for TensorBoard: width, height and n PNG files, as strings."""
    rows, columns = pictures.shape[1:3]
    encoded = [tf.io.encode_png(np.uint8(np.round(255 * picture))) for picture in pictures]
    return tf.stack([tf.constant(str(columns)), tf.constant(str(rows)), *encoded])
