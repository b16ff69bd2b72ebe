"""BlurPool2D."""

from __future__ import annotations

from typing import Any, Union

import tensorflow as tf

from tfpyramid import _checks, _size_checks
from tfpyramid._compat import keras, register
from tfpyramid._sizes import per_axis
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import borders, pooling

Pair = Union[int, tuple[int, int]]


@register
class BlurPool2D(ImageLayer):
    """The next level by a fixed blur and decimation, which makes pooling less sensitive to shifts of its input.

    With `pool_size=2` it is the anti-aliased max-pooling. Use that in place of `MaxPooling2D` if a prediction must not
    change when the image shifts. Use `pooling="average"` in place of `AveragePooling2D`.

    Equation:
        `y[i] = sum_k w[k - strides i] m[k]` on each axis, with the binomial taps w. `m[k]` is the maximum over the
        window of `pool_size` at k, or `x[k]` if `pool_size` is 1 or `pooling` is "average".

    Convention:
        By default a side of n becomes ceil(n / strides), and output sample i sits at i * strides of the input, or half
        a sample later if `kernel_size` is even, as it is by default. This is `pyr_down` with
        `kernel=binomial(kernel_size)`. Pass the phase to the layer that aligns the levels:
        `UpsampleConcat(phase=pyramid.phase)`.
        With `padding`, sizes are those of Keras's pooling, and so are positions, but for the half sample of an even
        `kernel_size`. They differ from the default with "valid", and with "same" if `pool_size` is above 2.
        The window of the maximum has stride 1 and the position that `keras.layers.MaxPooling2D(pool_size, 1, padding)`
        gives it. It ignores what lies beyond the border. The blur replaces the average of `AveragePooling2D`.
        Integers give integers of the same dtype, as in `MaxPooling2D`; the blur is rounded to the nearest.

    Args:
        kernel_size: number of binomial taps, from 1 to 1024, for both axes or as (rows, columns). 1 only decimates.
        strides: ratio of the sides of input and output, from 1 to 65536, for both axes or as (rows, columns). None
            means `pool_size`, as in Keras.
        pool_size: window of the pooling that this layer replaces, from 1 to 65536, for both axes or as (rows, columns).
            With "max", it is the window of the maximum before the blur; 1 means none. With "average", only the size and
            positions of the output depend on it.
        padding: None, or "same" or "valid" as in Keras, in lower or upper case.
        pooling: "max" or "average".
        border: rule for the samples that the blur reads beyond the border: "reflect", "symmetric", "edge", "constant"
            or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point or integers. Sides and channels may be unknown. With "max" and
        "valid", sides are at least `pool_size`.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), channels]. With "valid", a side of n becomes
        floor((n - pool_size) / strides) + 1, or 0 if n is less than `pool_size`.

    Attributes:
        phase: position of output sample 0 in the input, in samples; a pair (rows, columns) if they differ. By default
            it is 0, or 1/2 if `kernel_size` is even, as it is by default. An even `pool_size` adds 1/2 with "max", the
            middle of the window of its maximum. With `padding`, the position of the window is added. With "same" and a
            `pool_size` above 2, that depends on the side, and the phase is that of sides that `strides` divides.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(BlurPool2D(pool_size=2)(tf.ones([1, 33, 47, 3])).shape)
        (1, 17, 24, 3)
        >>> tuple(BlurPool2D(pool_size=(2, 2), strides=(2, 1), padding="valid")(tf.ones([1, 33, 47, 3])).shape)
        (1, 16, 46, 3)

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 3.2.
    """

    def __init__(
        self,
        kernel_size: Pair = 4,
        strides: Pair | None = 2,
        *,
        pool_size: Pair = 1,
        padding: str | None = None,
        pooling: str = "max",
        border: str = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = _size_checks.size_or_pair(
            "kernel_size", kernel_size, 1, "the number of binomial taps on each axis"
        )
        meaning, most = "the rows and columns of the window", _checks.LARGEST_WINDOW
        self.pool_size = _size_checks.size_or_pair("pool_size", pool_size, 1, meaning, maximum=most)
        strides = self.pool_size if strides is None else strides
        meaning = "the ratio of the sides of input and output"
        self.strides = _size_checks.size_or_pair("strides", strides, 1, meaning, maximum=most)
        if padding is not None:
            lower = padding.lower() if isinstance(padding, str) else padding
            padding = _checks.one_of("padding", lower, ("same", "valid", None))
        self.padding = padding
        self.pooling = _checks.one_of("pooling", pooling, ("max", "average"))
        self.border = borders.check(border)

    @property
    def phase(self) -> float | tuple[float, float]:
        """Position of output sample 0 in the input, in samples, for sides that `strides` divides."""
        sizes = zip(per_axis(self.kernel_size), per_axis(self.strides), per_axis(self.pool_size))
        rows, columns = (pooling.phase(*each, self.padding, self.pooling) for each in sizes)
        return rows if rows == columns else (rows, columns)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = _checks.tensor("images", images)
        if not images.dtype.is_integer:
            _checks.floating("images", images.dtype)
        self.compute_output_shape(images.shape)
        taps, strides, windows = map(per_axis, (self.kernel_size, self.strides, self.pool_size))
        return pooling.blur_pool(images, taps, strides, windows, self.padding, self.pooling, self.border)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sides, channels = _checks.image_shape("images", input_shape, any_size=True)
        windows = per_axis(self.pool_size)
        is_small = any(side and side < size for side, size in zip(sides, windows))
        # As in Keras: a maximum of nothing is an error, but an average of nothing gives an empty map.
        if is_small and self.padding == "valid" and self.pooling == "max":
            raise ValueError(
                "`images` must have sides of at least `pool_size` if `padding` is 'valid'. "
                f"Received: images of shape {tuple(input_shape)}, pool_size={self.pool_size}"
            )
        height, width = (
            pooling.output_side(*each, self.padding) for each in zip(sides, windows, per_axis(self.strides))
        )
        return (batch, height, width, channels)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Return symbolic integers for integers, as `call` does; Keras 3 would return the dtype of the layer."""
        if tf.as_dtype(keras.backend.standardize_dtype(inputs.dtype)).is_integer:
            return keras.KerasTensor(self.compute_output_shape(inputs.shape), inputs.dtype)
        return super().compute_output_spec(inputs, **kwargs)

    def get_config(self) -> dict[str, Any]:
        names = ("kernel_size", "strides", "pool_size", "padding", "pooling", "border")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
