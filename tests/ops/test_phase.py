"""Where the samples of a level lie: levels of a ramp, brought to one size, are the ramp."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers, losses, models, ops
from tfpyramid._compat import keras
from tfpyramid.ops import kernels, portable

ASYMMETRIC = (1.0, 5.0, 2.0, 4.0)
FACTORS = [2.0, 3.0, 1.5, 2**0.5]
LENGTH = 300
MIDDLE = (110, 190)  # Away from the borders, for three levels of any kernel here.


def ramp(length=LENGTH, axis=1):
    """Return one line of pixels that hold their own place."""
    return np.moveaxis(np.arange(float(length)).reshape(1, -1, 1, 1), 1, axis)


def places(count, level, factor, phase):
    """Return where the samples of a level lie in level 0, step by step."""
    found = np.arange(count, dtype=float)
    for _ in range(level):
        found = found * factor + phase
    return found


def assert_in_place(line, level, factor, phase, times=1.0):
    """Assert that samples of a level hold their own places, or a multiple of them, away from the borders."""
    # A factor that is no fraction may be taken for one that is near.
    atol = 1e-9 if float(factor * 2).is_integer() else 1e-6
    line = np.ravel(line)
    expected = places(line.size, level, factor, phase)
    inside = (MIDDLE[0] < expected) & (expected < MIDDLE[1])
    assert inside.sum() >= 2
    np.testing.assert_allclose(line[inside], times * expected[inside], rtol=0, atol=atol)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("kernel", [*kernels.NAMES, None, (2.0,), (1.0, 2.0), ASYMMETRIC], ids=str)
def test_the_phase_is_where_a_step_down_puts_a_ramp(kernel, factor):
    phase = ops.phase(kernel, factor)
    assert abs(phase - references.phase_of(kernel, factor)) < 1e-14
    levels = layers.GaussianPyramid(3, scale_factor=factor, kernel=kernel, dtype="float64")(ramp())
    for k, level in enumerate(levels):
        assert_in_place(level, k, factor, phase)


def test_the_phase_of_the_named_kernels_is_exact():
    assert [ops.phase(kernel) for kernel in (None, "binomial", "gaussian", "box", "bilinear")] == [0, 0, 0, 0.5, 0.5]
    assert [ops.phase("box", factor) for factor in (1.5, 2, 2.5, 3, 3.5)] == [0.5, 0.5, 0, 0, 0.5]
    assert [ops.phase(ops.binomial(size)) for size in range(1, 8)] == [0, 0.5, 0, 0.5, 0, 0.5, 0]
    assert ops.phase([0, 0, 1]) == 1 and ops.phase([3, 1]) == 0.25
    # Values that are learned may change.
    assert ops.phase(tf.Variable([3.0, 1.0])) == 0.5 and ops.phase(tf.constant([3.0, 1.0, 1.0])) == 0


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("kernel", ["box", "bilinear", ASYMMETRIC], ids=str)
def test_levels_of_a_ramp_come_back_as_the_ramp_at_every_target(kernel, factor):
    pyramid = layers.GaussianPyramid(3, scale_factor=factor, kernel=kernel, dtype="float64")
    for axis in (1, 2):
        levels = pyramid(ramp(axis=axis))
        for target in range(3):
            for level in ops.align_levels(levels, target, scale_factor=factor, phase=pyramid.phase):
                assert_in_place(level, target, factor, pyramid.phase)


@pytest.mark.parametrize("is_portable", [False, True], ids=["plain", "portable"])
def test_sides_that_are_not_known_and_portable_graphs_change_nothing(is_portable):
    @tf.function(input_signature=[[tf.TensorSpec([None, None, None, 1], tf.float64)] * 3], autograph=False)
    def aligned(levels):
        return [ops.align_levels(levels, target, scale_factor=1.5, phase=0.5) for target in range(3)]

    levels = ops.gaussian_pyramid(tf.constant(ramp()), 3, scale_factor=1.5, kernel="box")
    with portable.portable() if is_portable else tf.name_scope("plain"):
        aligned.get_concrete_function()
    for target, found in enumerate(aligned(levels)):
        wanted = ops.align_levels(levels, target, scale_factor=1.5, phase=0.5)
        for one, other in zip(found, wanted, strict=True):
            # A portable graph counts places in float32.
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 if is_portable else 1e-11)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7])
def test_every_layer_that_aligns_puts_a_pyramid_of_blurs_in_place(size):
    pyramid = layers.LearnablePyramid(3, layers.BlurPool2D(size, dtype="float64"), dtype="float64")
    assert pyramid.phase == (0.5 if size % 2 == 0 else 0)
    levels = pyramid(ramp())
    for target in range(3):
        at = {"target_level": target, "phase": pyramid.phase, "dtype": "float64"}
        for line in tf.unstack(layers.UpsampleConcat(**at)(levels), axis=-1):
            assert_in_place(line, target, 2.0, pyramid.phase)
        assert_in_place(layers.WeightedFusion("softmax", **at)(levels), target, 2.0, pyramid.phase)


@pytest.mark.parametrize("phase", [0.0, 0.5, 1.0, -0.75])
def test_a_feature_pyramid_adds_levels_in_place_and_its_extra_levels_continue_them(phase):
    levels = [places(LENGTH // 2**k, k, 2.0, phase).reshape(1, -1, 1, 1) for k in range(3)]
    layer = layers.FeaturePyramid(1, extra_levels=1, interpolation="bilinear", phase=phase, dtype="float64")
    layer(levels)
    delta = np.zeros([3, 3, 1, 1])
    delta[1, 1] = 1
    layer.set_weights(
        [delta if w.shape == delta.shape else np.full(w.shape, float(w.ndim == 4)) for w in layer.get_weights()]
    )
    for k, (level, added) in enumerate(zip(layer(levels), (3, 2, 1, 1), strict=True)):
        assert_in_place(level, k, 2.0, phase, times=added)


def test_a_block_with_even_kernels_brings_back_what_went_down_to_its_place():
    layer = layers.PyramidBlock(1, 2, None, kernel_size=2, interpolation="bilinear", use_bias=False, dtype="float64")
    layer(ramp())
    mean = np.full([2, 2, 1, 1], 0.25)
    # The last convolution reads what came back, and not the image in front of it: channels are x, and then deeper.
    for back in (1, 2):
        last = np.concatenate([mean * (k == back) for k in range(3)], 2)
        layer.set_weights([mean, np.concatenate([mean, 0 * mean], 2)[:, :, :1], mean, last])
        # Its own window has its middle half a sample later.
        np.testing.assert_allclose(np.ravel(layer(ramp()))[110:190], np.arange(110, 190) + 0.5, atol=1e-9)


@pytest.mark.parametrize("kernel", ["box", ASYMMETRIC], ids=str)
def test_levels_in_front_of_the_images_keep_the_phase(kernel):
    pyramid = layers.GaussianPyramid(4, upsampled_levels=2, kernel=kernel, dtype="float64")
    levels = pyramid(ramp())
    for target in range(4):
        for level in ops.align_levels(levels, target, phase=pyramid.phase):
            line = np.ravel(level[0, :, 0])
            where = places(line.size, target, 2.0, pyramid.phase)  # In the finest level, where image sample i is at
            where = (where - places(1, 2, 2.0, pyramid.phase)) / 4  # 4 i + what the finest level's own steps add.
            inside = (MIDDLE[0] < where) & (where < MIDDLE[1])
            np.testing.assert_allclose(line[inside], where[inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "kernel, phase, known",
    [
        ("box", None, True),
        (None, 0.5, True),
        ("box", 0.0, True),
        (ASYMMETRIC, None, True),
        (ASYMMETRIC, 0.25, True),
        (ASYMMETRIC, 0.25, False),
    ],
    ids=str,
)
def test_a_loss_compares_predictions_with_the_target_at_their_places(kernel, phase, known):
    d = ops.phase(kernel) if phase is None else phase
    sides = [LENGTH, LENGTH // 2, LENGTH // 4]
    predictions = [places(side, k, 2.0, d).reshape(1, -1, 1, 1) for k, side in enumerate(sides)]

    def error(target, prediction):
        inside = (prediction > MIDDLE[0]) & (prediction < MIDDLE[1])
        return tf.where(inside, tf.abs(target - prediction), tf.zeros_like(target))

    def found(targets, levels):
        made = losses.MultiScaleLoss(error, kernel=kernel, phase=phase, reduction="sum")
        whole = losses.multi_scale_loss(targets, levels, error, kernel=kernel, phase=phase)
        return tf.cast(whole, tf.float32), tf.cast(made(targets, levels[2])[None], tf.float32)

    if not known:
        spec = tf.TensorSpec([None, None, None, 1], tf.float64)
        found = tf.function(found, input_signature=[spec, [spec] * 3], autograph=False)
    # A loss of Keras takes its arguments in float32, and they are places up to 190.
    np.testing.assert_allclose(found(ramp(), predictions), np.zeros([2, 1]), atol=1e-5)


def test_levels_of_one_phase_are_alike_and_of_another_are_not():
    smooth = np.exp(-(((ramp() - 150) / 6) ** 2))
    levels = ops.gaussian_pyramid(smooth, 2, kernel=ops.binomial(6))  # What the default kernel is at the phase 1/2.
    np.testing.assert_allclose(losses.pyramid_diversity_loss(levels, phase=0.5), 1, atol=1e-12)
    assert losses.pyramid_diversity_loss(levels) < 0.999
    layer = losses.PyramidDiversity(1.0, phase=0.5, dtype="float64")
    layer(levels)
    np.testing.assert_allclose(layer.losses, [1], atol=1e-12)


@pytest.mark.parametrize(
    "layer, phase",
    [
        (layers.GaussianPyramid(2), 0),
        (layers.GaussianPyramid(2, kernel="box"), 0.5),
        (layers.LaplacianPyramid(2, kernel=[3.0, 1.0]), 0.25),
        (layers.LearnablePyramid(2), 0),
        (layers.LearnablePyramid(1, layers.BlurPool2D()), 0.5),
        (layers.LearnablePyramid(2, keras.layers.AveragePooling2D(2)), 0),
        (layers.AdaptiveDepthPyramid(2, layers.LearnableDownsample2D(kernel_size=4)), 0.5),
        (layers.BlurPool2D(), 0.5),
        (layers.BlurPool2D(3, pool_size=2), 0.5),
        (layers.BlurPool2D(4, pool_size=2), 1),
        (layers.LearnableDownsample2D(kernel_size=2), 0.5),
        (layers.AntiAliasedDownsample2D(kernel_size=4, filters=3), 0.5),
        (layers.AntiAliasedDownsample2D(), 0),
        (layers.ChannelAdaptiveDownsample2D(), 0),
        (layers.ContentAdaptiveDownsample2D(), 0.5),
        (layers.ContentAdaptiveDownsample2D(window=3), 0),
        (layers.BilinearDownsample2D(), 0.5),
        (layers.BilinearDownsample2D(3.0), 1),
        (layers.SpatialTransformerDownsample2D(), 0.5),
        (layers.SpectralDownsample2D(), 0),
        (layers.LearnableStrideConv2D(kernel_size=3), 1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_layers_say_their_phase(layer, phase):
    assert layer.phase == phase
    with pytest.raises(AttributeError):
        layer.phase = 1.0


@pytest.mark.parametrize(
    "downsample",
    [
        layers.LearnableDownsample2D(kernel_size=4, dtype="float64"),
        layers.AntiAliasedDownsample2D(kernel_size=6, filters=1, dtype="float64"),
        layers.ContentAdaptiveDownsample2D(dtype="float64"),
        layers.ChannelAdaptiveDownsample2D(dtype="float64"),
        layers.BilinearDownsample2D(3.0, dtype="float64"),
        layers.SpatialTransformerDownsample2D(dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_phase_of_an_untrained_downsampler_is_where_it_puts_a_ramp(downsample):
    factor = getattr(downsample, "strides", None) or downsample.scale_factor
    images = ramp(LENGTH) + np.zeros([1, 1, 6, 1])
    assert_in_place(downsample(images)[0, :, 1, 0], 1, factor, downsample.phase)


def test_a_segmenter_passes_the_phase_of_its_downsampler_on():
    def phases(**arguments):
        model = models.pyramid_segmenter(2, num_levels=2, filters=1, num_convolutions=1, **arguments)
        return [model.get_layer(name).phase for name in ("top_down", "all_levels")]

    assert phases() == [0, 0]
    assert phases(downsample=layers.BlurPool2D()) == [0.5, 0.5]
    assert phases(downsample=keras.layers.AveragePooling2D(2), phase=0.5) == [0.5, 0.5]
    assert phases(downsample=layers.BilinearDownsample2D(), scale_factor=None) == [0, 0]


WITH_PHASE = {
    "resize_by": lambda **arguments: ops.resize_by(ramp(8), arguments.pop("scale_factor", 2.0), (8, 1), **arguments),
    "align_levels": lambda **arguments: ops.align_levels([ramp(8), ramp(4)], **arguments),
    "UpsampleConcat": layers.UpsampleConcat,
    "WeightedFusion": layers.WeightedFusion,
    "FeaturePyramid": lambda **arguments: layers.FeaturePyramid(2, **arguments),
}


@pytest.mark.parametrize("name", WITH_PHASE)
def test_a_phase_is_a_number_and_has_no_meaning_without_a_factor(name):
    for phase in (np.nan, np.inf, "half", None, [0.5]):
        with pytest.raises(
            ValueError, match="`phase` must be a finite number: the position of sample 0.* Received: phase="
        ):
            WITH_PHASE[name](phase=phase)
    with pytest.raises(ValueError, match="`phase` must be 0 if `scale_factor` is None.* Received: phase=0.5"):
        WITH_PHASE[name](phase=0.5, scale_factor=None)


def test_a_phase_far_beyond_the_kernel_is_refused_where_a_kernel_is_moved():
    rule = "`phase` must be at most 1024 samples from the phase of the kernel.* Received: phase=1e"
    for call in (
        lambda: ops.align_levels([ramp(8), ramp(4)], 1, phase=1e9),
        lambda: losses.multi_scale_loss(ramp(8), [ramp(4)], phase=1e9),
        lambda: losses.MultiScaleLoss(phase=1e9),
        lambda: losses.pyramid_diversity_loss([ramp(8), ramp(4)], phase=1e9),
    ):
        with pytest.raises(ValueError, match=rule):
            call()


def test_two_phases_are_those_of_rows_and_columns():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    rows = references.along(lambda line: np.interp((np.arange(6) - 0.5) / 2, np.arange(3), line), x, 1)
    both = references.along(lambda line: np.interp((np.arange(8) + 0.25) / 2, np.arange(4), line), rows, 2)
    np.testing.assert_allclose(ops.resize_by(x, 2.0, (6, 8), phase=(0.5, -0.25)), both, atol=1e-13)
    assert np.array_equal(
        ops.resize_by(x, 2.0, (6, 8), phase=0.5, interpolation="nearest"), x.repeat(2, axis=1).repeat(2, axis=2)
    )


@pytest.mark.parametrize("wanted", [-2.25, -1.0, -0.5, 0.25, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("kernel", [None, "box", ASYMMETRIC, (1.0,)], ids=str)
def test_a_kernel_is_moved_to_a_phase(kernel, wanted):
    taps = kernels.at_phase(kernel, 2.0, wanted)
    taps = references.taps_of(taps, 2.0)
    assert abs(references.phase_of(taps, 2.0) - wanted) < 1e-13
    learned = kernels.at_phase(tf.constant(references.taps_of(kernel, 2.0)), 2.0, wanted)
    nominal = ops.phase(tf.constant(references.taps_of(kernel, 2.0)))
    expected = kernels.at_phase(kernel, 2.0, wanted - nominal + ops.phase(kernel))
    np.testing.assert_allclose(learned, references.taps_of(expected, 2.0), atol=1e-15)
