"""antialias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

from tfpyramid import _checks
from tfpyramid._compat import graph_calls, keras
from tfpyramid.models._antialiasing import Settings, antialiased, strided_layers
from tfpyramid.ops import borders

Layers = Union[Callable[[keras.layers.Layer], bool], str, type, Sequence[Union[str, type]]]


def antialias(
    model: keras.Model, *, layers: Layers | None = None, kernel_size: int | None = None, border: str = "reflect"
) -> keras.Model:
    """Return a copy of a model that blurs before each decimation, so that its results depend less on shifts of images.

    * `MaxPooling2D` with strides becomes `BlurPool2D`: the maximum at stride 1, then a blur with the strides.
    * `AveragePooling2D` with strides becomes the blur alone.
    * `Conv2D`, `DepthwiseConv2D` and `SeparableConv2D` with strides get stride 1, and a blur with the strides follows.

    Convention:
        The blur of a convolution follows its activation: `activation` of the convolution itself, or an activation layer
        that reads nothing but the convolution, at most through batch normalization. Without one, for example before an
        addition, the blur follows the convolution; or it precedes a 1 by 1 convolution, which gives the same result
        with less computation. An activation that is a function or a product of two maps does not count.

        Sizes are those of `model` for images of every size, and so are positions: with `kernel_size=1`, which only
        decimates, the copy computes what `model` does, except for its average pools. The copy has the weights of
        `model`, as variables of its own, and layers keep their names. A blur after a convolution has its name, followed
        by "_blur". Train the copy further, or from scratch: its activations are smoother than those that the weights
        were trained for. It is not compiled.

        Convolutions of stride 1 cost more: by 4 for a stride of 2. The maps that are decimated are as much larger.

        The copy of a Sequential is a Sequential; any other copy is a functional model, without the methods of a
        subclass, such as `train_step`. Models inside the model are copied in the same way. Layers inside other layers,
        such as wrappers and your own blocks, are copied as they are.

    Args:
        model: a functional or sequential model, built, of images [batch, height, width, channels].
        layers: what to replace: a function that takes a layer and returns whether to replace it; or a name, a class, or
            a list of these. None means all layers above with strides.
        kernel_size: number of binomial taps of the blurs, from 1 to 1024. None means 5 for a stride of 2, 9 for 3 and
            17 for 4: their standard deviation is about half a stride. An average over an even number of samples is
            replaced by one tap less, so that the position remains.
        border: "reflect", "symmetric", "edge", "constant" or "wrap", for the samples that a blur reads beyond the
            border.

    Returns:
        A `keras.Model` with the inputs, outputs and name of `model`.

    Raises:
        ValueError: if an argument breaks a rule above, or no layer is replaced.

    Example:
        >>> network = keras.applications.MobileNetV2(weights=None)
        >>> copy = models.antialias(network)
        >>> copy.output_shape == network.output_shape
        True

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 3.2.
    """
    _check_model(model)
    if kernel_size is not None:
        kernel_size = _checks.kernel_size(kernel_size, "the number of binomial taps on each axis, or None")
    chosen = _chosen(model, layers)
    for layer in chosen:
        if layer.data_format != "channels_last":
            raise ValueError(
                "`model` must hold images as [batch, height, width, channels]. "
                f"Received: model {model.name!r} whose layer {layer.name!r} has data_format={layer.data_format!r}"
            )
    return antialiased(model, Settings(chosen, kernel_size, borders.check(border)))


def _check_model(model: Any) -> None:
    if isinstance(model, keras.Model) and graph_calls(model):
        return
    rule = "`model` must be a functional or sequential keras.Model with a graph of layers."
    if not isinstance(model, keras.Model):
        raise ValueError(f"{rule} {_checks.received('model', model)}")
    what = "a Sequential that is not built" if isinstance(model, keras.Sequential) else "a subclassed model"
    raise ValueError(
        f"{rule} Start a Sequential with keras.Input. In a subclassed model, replace MaxPooling2D(2) by "
        "tfpyramid.layers.BlurPool2D(pool_size=2, padding='valid') yourself. "
        f"Received: model {model.name!r}, {what} of type {type(model).__name__}"
    )


def _chosen(model: keras.Model, layers: Any) -> list[keras.layers.Layer]:
    """Return the layers to replace."""
    strided = strided_layers(model)
    if not strided:
        raise ValueError(
            "`model` must have a layer with strides of at least 2: MaxPooling2D, AveragePooling2D, Conv2D, "
            f"DepthwiseConv2D or SeparableConv2D. Received: model {model.name!r} without one"
        )
    if layers is None:
        return strided
    rule = "`layers` must choose layers with strides, by a function of a layer, or by names or classes."
    there = f"The model has {', '.join(repr(layer.name) for layer in strided)}."
    if callable(layers) and not isinstance(layers, type):
        chosen = [layer for layer in strided if layers(layer)]
    else:
        chosen = []
        for each in layers if isinstance(layers, (list, tuple, set)) else [layers]:
            found = [layer for layer in strided if _fits(layer, each)]
            if not found:
                raise ValueError(f"{rule} {there} {_checks.received('layers', each)}")
            chosen += found
    if not chosen:
        raise ValueError(f"{rule} {there} {_checks.received('layers', layers)}")
    return list(dict.fromkeys(chosen))


def _fits(layer: keras.layers.Layer, name_or_class: Any) -> bool:
    if isinstance(name_or_class, type):
        return isinstance(layer, name_or_class)
    return isinstance(name_or_class, str) and layer.name == name_or_class
