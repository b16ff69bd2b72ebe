"""FixationSampler."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, next_seed, register, seed_generator, shape_tuple
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import candidates, maxima
from tfpyramid.ops.dtypes import working_dtype

# More cells than this would be as many crops of each image.
_MOST_CELLS = 32


@register
class FixationSampler(ImageLayer):
    """Places to look at in an image, chosen from a map that any network computes, and the score of each place.

    At inference these are the largest local maxima of the map. In training there are more: a few maxima, moved a little
    at random, and places drawn from all parts of the image. So the network can find an object wherever it is, while the
    gradient of a crop's position reaches no further than the crop. `FoveatedPyramid` reads the places, one network
    classifies what each shows, and `SoftmaxMixture` combines the answers. The scores carry the gradient to the map.

    Equation:
        Inference: the pixels p of the `num_fixations` largest local maxima; p is one if `map[p] >= map[q]` for each
        pixel q of the window of `separation` rows and columns around p.
        Training: the `num_peaks` largest local maxima, each moved by a random number of rows and columns between
        -jitter and jitter and kept inside the map; then one pixel for each cell of a `grid` by `grid` partition of the
        map, at a position drawn uniformly in the cell.
        `fixation = ((p_y + 1/2) / height, (p_x + 1/2) / width)`, `score = map[p]`.

    Convention:
        A fixation is (y, x) as a fraction of the image, as in `FoveatedPyramid`. The pixels of the map count as the
        centers of equal cells of the image, as in `FixationPredictor`.
        The fixations of inference are in the order of their scores, and equal ones in the order of rows. If a map has
        fewer local maxima than fixations, its largest other pixels follow. If it has fewer pixels than fixations, the
        first is repeated, with the score -3.4e38, the lowest of float32: a softmax gives it the weight 0. A place that
        is drawn twice in training counts twice. A map with a NaN gives fixations and scores of NaN.
        Fixations have no gradient; the gradient of a score goes to its pixel. Both are computed and returned in at
        least float32, whatever the dtype policy is, and the layer does not round the map.
        The layer draws places only with `training=True`. With a `seed`, every new layer draws the same sequence.

    Args:
        num_fixations: number of fixations at inference, from 1 to 1024.
        num_peaks: number of local maxima in training, from 1 to 1024.
        grid: rows and columns of cells that a place is drawn from in training, from 0 to 32; 0 for none.
        jitter: how far a maximum is moved in training at most, in pixels of the map, from 0 to 1024; 0 for not at all.
        separation: odd number of rows and columns of the window of a local maximum, from 1 to 1023.
        seed: an integer, or None to draw different places in each run.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, 1], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        A list of two: fixations [batch, n, 2], and scores [batch, n]. n is `num_fixations` at inference and
        `num_peaks + grid^2` in training. Unless both are equal, it is unknown in a symbolic call of Keras 3. Keras 2
        shows the number of inference there.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> maps = tf.reshape(tf.one_hot([13], 64, on_value=5.0), [1, 8, 8, 1])
        >>> fixations, scores = FixationSampler()(maps)
        >>> fixations.numpy(), scores.numpy()  # Row 1, column 5.
        (array([[[0.1875, 0.6875]]], dtype=float32), array([[5.]], dtype=float32))
        >>> fixations, scores = FixationSampler()(maps, training=True)
        >>> tuple(fixations.shape), tuple(scores.shape)
        ((1, 24, 2), (1, 24))

    References:
        Katharopoulos and Fleuret, Processing Megapixel Images with Deep Attention-Sampling Models, ICML 2019 (a network
        reads places that are sampled from a map; here with maxima, a grid, and a mixture instead of a mean of
        features).
    """

    def __init__(
        self,
        num_fixations: int = 1,
        *,
        num_peaks: int = 8,
        grid: int = 4,
        jitter: int = 1,
        separation: int = 5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # With autocast, Keras would round the map to half precision before `call`, and different values could tie.
        super().__init__(**{"autocast": False, **kwargs})
        self.num_fixations = maxima.check_count("num_fixations", num_fixations, "the fixations of an image")
        self.num_peaks = maxima.check_count("num_peaks", num_peaks, "the local maxima to read in training")
        meaning = "the rows and columns of cells, or 0 for none"
        self.grid = _checks.integer("grid", grid, 0, meaning, maximum=_MOST_CELLS)
        meaning = "how many pixels of the map a maximum is moved at most"
        self.jitter = _checks.integer("jitter", jitter, 0, meaning, maximum=_checks.LARGEST)
        self.separation = maxima.check_separation(separation)
        self.seed = _checks.seed(seed)
        self._draws = seed_generator(self.seed)

    def build(self, input_shape: Any) -> None:
        maxima.check_map(input_shape)
        super().build(input_shape)

    def call(self, maps: tf.Tensor, training: bool | None = None) -> list[tf.Tensor]:
        maps = tf.cast(_checks.images(maps, "maps"), self._output_dtype)
        maxima.check_map(maps.shape)
        if not training:
            return list(maxima.local_maxima(maps, self.num_fixations, separation=self.separation))
        seed = next_seed(self._draws)
        return list(candidates.draw(maps, self.num_peaks, self.grid, self.jitter, self.separation, seed))

    @property
    def _output_dtype(self) -> tf.DType:
        return working_dtype(tf.as_dtype(self.compute_dtype))

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Return Keras 3's symbolic outputs in the dtype of `call`; the default is that of the layer."""
        spec = super().compute_output_spec(inputs, **kwargs)
        return [keras.KerasTensor(each.shape, self._output_dtype.name) for each in spec]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        maxima.check_map(input_shape)
        batch = shape_tuple(input_shape)[0]
        count = self.num_fixations if self.num_fixations == self.num_peaks + self.grid**2 else None
        return [(batch, count, 2), (batch, count)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_fixations": self.num_fixations,
            "num_peaks": self.num_peaks,
            "grid": self.grid,
            "jitter": self.jitter,
            "separation": self.separation,
            "seed": self.seed,
        }
