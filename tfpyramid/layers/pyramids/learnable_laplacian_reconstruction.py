"""LearnableLaplacianReconstruction."""

from __future__ import annotations

from typing import Any

from tfpyramid import _level_checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.pyramids._step import InverseLayer
from tfpyramid.layers.pyramids.learnable_laplacian_pyramid import LearnableLaplacianPyramid


@register
class LearnableLaplacianReconstruction(InverseLayer):
    """Images from their learned Laplacian pyramid: the exact inverse of a `LearnableLaplacianPyramid`.

    It uses the weights of that pyramid, so the two remain inverse to each other while either is trained.

    Equation:
        That of `LaplacianReconstruction`, with the taps of the pyramid.

    Convention:
        A model that contains both layers has the taps once, also after it is saved as `.keras` and loaded, and in a
        SavedModel. `keras.models.clone_model` and `from_config` of a model copy each layer separately. Their result has
        the taps twice, and the two layers no longer share them: save and load a model to copy it.

    Args:
        pyramid: the `LearnableLaplacianPyramid` to invert.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last". `dtype` is that
            of the pyramid by default.

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, with one batch size. Each side must be
        ceil(n / scale_factor), for the side n of the level before it; a side that was rounded down raises an error.

    Output shape:
        That of the first level.

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> pyramid = LearnableLaplacianPyramid(num_levels=3, kernel_size=4)
        >>> bands = pyramid(tf.ones([1, 8, 5, 1]))
        >>> tuple(LearnableLaplacianReconstruction(pyramid)(bands).shape)
        (1, 8, 5, 1)

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III.A.
    """

    def __init__(self, pyramid: LearnableLaplacianPyramid, **kwargs: Any) -> None:
        found = check_layer("pyramid", pyramid)
        if not isinstance(found, LearnableLaplacianPyramid):
            raise ValueError(
                "`pyramid` must be the LearnableLaplacianPyramid to invert. "
                f"Received: pyramid of type {type(pyramid).__name__}"
            )
        super().__init__(**{"dtype": found.dtype_policy, **kwargs})
        self.pyramid = found

    @property
    def scale_factor(self) -> float:
        """The ratio of a level's sides to those of the next, that of the pyramid."""
        return self.pyramid.scale_factor

    @property
    def step(self) -> dict[str, Any]:
        """The keyword arguments of `pyr_up`, those of the pyramid."""
        return self.pyramid.step

    def build(self, input_shape: Any) -> None:
        if not self.pyramid.built:
            self.pyramid.build(_level_checks.level_shapes(input_shape)[0])
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pyramid": keras.saving.serialize_keras_object(self.pyramid)}
