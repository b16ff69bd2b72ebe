"""Inputs that belong together must have the same batch size: samples are paired by index, without broadcasting."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, losses, metrics, ops
from tfpyramid._compat import keras
from tfpyramid.ops import partition, portable, routing

IMAGE, HALF, FLOW, LOGITS, WEIGHTS = (8, 6, 3), (4, 3, 3), (8, 6, 2), (3,), (2,)
LEVELS = [IMAGE, HALF]


class Case(NamedTuple):
    """A function of several tensors, the shapes of a sample of each, and whether it is a layer of a list of them."""

    function: Callable
    samples: list[tuple[int, ...]]
    pairs: bool = True  # False where inputs are passed on, each by itself.

    def inputs(self, *batches: int) -> list[tf.Tensor]:
        rng = np.random.default_rng(0)
        return [tf.constant(rng.random((b, *s)), tf.float32) for b, s in zip(batches, self.samples, strict=True)]


def mean_encoders():
    return [keras.layers.GlobalAveragePooling2D(name=f"mean_{k}") for k in range(2)]


def cascade(**arguments):
    features, query = keras.Input((3,)), keras.Input((4,))
    log_odds = keras.layers.Dense(1)(keras.layers.Concatenate()([features, query]))
    confidence = keras.Model([features, query], log_odds)
    return layers.LevelCascade(mean_encoders(), confidence, layers.GaussianPyramid(2), threshold=0.5, **arguments)


def consistency(y_a, y_b):
    metric = metrics.ShiftConsistency()
    metric.update_state(y_a, y_b)
    return tf.convert_to_tensor(metric.result())


def weighted_consistency(y, sample_weight):
    metric = metrics.ShiftConsistency()
    metric.update_state(y, y, sample_weight=sample_weight)
    return tf.convert_to_tensor(metric.result())


def first_by_query(x, y):
    return ops.fuse_logits([x, y], "attention", query=[1.0, 2.0, 3.0])


STAGES = [partition.Stage(lambda x: tf.reduce_mean(x, [1, 2]), [3])] * 2

FUNCTIONS = {
    "align_levels": Case(lambda *levels: ops.align_levels(levels), LEVELS),
    "align_levels down": Case(lambda *levels: ops.align_levels(levels, -1), LEVELS),
    "align_levels of no factor": Case(lambda *levels: ops.align_levels(levels, scale_factor=None), LEVELS),
    "bilinear_sample": Case(ops.bilinear_sample, [IMAGE, (30, 2)]),
    "bilinear_sample at few points": Case(ops.bilinear_sample, [IMAGE, (2,)]),
    "blend": Case(lambda a, b, mask: ops.blend(a, b, mask, num_levels=2), [IMAGE, IMAGE, (8, 6, 1)]),
    "cascade_costs": Case(lambda w, start: ops.cascade_costs(w, start=start), [WEIGHTS, WEIGHTS]),
    "cost_volume": Case(lambda first, second: ops.cost_volume(first, second, 1), [IMAGE, IMAGE]),
    "cost_volume at a flow": Case(lambda a, b, flow: ops.cost_volume(a, b, 1, flow=flow), [IMAGE, IMAGE, FLOW]),
    "exposure_fusion": Case(lambda *images: ops.exposure_fusion(images, 2), [IMAGE, IMAGE]),
    "focus_stack": Case(lambda *images: ops.focus_stack(images, 2), [IMAGE, IMAGE]),
    "foveated_pyramid": Case(lambda x, f: ops.foveated_pyramid(x, f, 2, 2), [IMAGE, (3, 2)]),
    "fuse_logits": Case(lambda *logits: ops.fuse_logits(logits), [LOGITS] * 3),
    "fuse_logits by a query": Case(first_by_query, [LOGITS] * 2),
    "reconstruct": Case(lambda *levels: ops.reconstruct(levels), LEVELS),
    "softmax_mixture": Case(ops.softmax_mixture, [(2, 3), WEIGHTS]),
    "surrogate_st": Case(ops.surrogate_st, [LOGITS, LOGITS]),
    "warp": Case(ops.warp, [IMAGE, FLOW]),
    "window_mean": Case(ops.window_mean, [IMAGE, (4, 3, 4)]),
    "routing.weighted_sum": Case(lambda x, y, w: routing.weighted_sum([x, y], w), [LOGITS, LOGITS, WEIGHTS]),
    "routing.route": Case(lambda x, y, w: routing.route([x, y], w, STAGES), [*LEVELS, WEIGHTS]),
    "routing.route_down": Case(
        lambda x, w: routing.route_down(x, w, STAGES, [partition.Stage(lambda x: x[:, ::2, ::2], HALF)]),
        [IMAGE, WEIGHTS],
    ),
    "multi_scale_loss": Case(lambda t, *p: losses.multi_scale_loss(t, p), [IMAGE, *LEVELS]),
    "multi_scale_loss of one": Case(losses.multi_scale_loss, [IMAGE, HALF]),
    "multi_scale_loss of targets": Case(lambda *x: losses.multi_scale_loss(x[:2], x[2:]), LEVELS * 2),
    "multi_scale_ssim": Case(ops.multi_scale_ssim, [IMAGE, IMAGE]),
    "laplacian_pyramid_loss": Case(losses.laplacian_pyramid_loss, [IMAGE, IMAGE]),
    "LaplacianPyramidLoss": Case(lambda t, p: losses.LaplacianPyramidLoss(reduction="none")(t, p), [IMAGE, IMAGE]),
    "Charbonnier": Case(lambda t, p: losses.Charbonnier(reduction="none")(t, p), [IMAGE, IMAGE]),
    "EndPointError": Case(lambda t, p: losses.EndPointError(reduction="none")(t, p), [FLOW, FLOW]),
    "GeneralizedIoU": Case(lambda t, p: losses.GeneralizedIoU(reduction="none")(t, p), [(3, 4), (3, 4)]),
    "MultiScaleSSIM": Case(lambda t, p: losses.MultiScaleSSIM(reduction="none")(t, p), [IMAGE, IMAGE]),
    "pyramid_diversity_loss": Case(lambda *levels: losses.pyramid_diversity_loss(levels), LEVELS),
    "MultiScaleLoss": Case(lambda t, p: losses.MultiScaleLoss(reduction="none")(t, p), [IMAGE, HALF]),
    "MultiScaleLoss with weights": Case(
        lambda p, w: losses.MultiScaleLoss(reduction="none")(p, p + 1, sample_weight=w), [IMAGE, ()]
    ),
    "MultiScaleLoss with a mask": Case(
        lambda p, w: losses.MultiScaleLoss(reduction="none")(p, p + 1, sample_weight=w), [IMAGE, IMAGE[:2]]
    ),
    "ShiftConsistency": Case(consistency, [LOGITS, LOGITS]),
    "ShiftConsistency with weights": Case(weighted_consistency, [LOGITS, ()]),
}

LAYERS = {
    "FeaturePyramid": Case(lambda: layers.FeaturePyramid(2), LEVELS),
    "FixationPredictor": Case(layers.FixationPredictor, [IMAGE, LOGITS]),
    "FoveatedPyramid": Case(lambda: layers.FoveatedPyramid(2, 2), [IMAGE, WEIGHTS]),
    "LaplacianReconstruction": Case(layers.LaplacianReconstruction, LEVELS),
    "LearnableLaplacianReconstruction": Case(
        lambda: layers.LearnableLaplacianReconstruction(layers.LearnableLaplacianPyramid(2)), LEVELS
    ),
    "LevelCascade": Case(lambda: cascade(), [IMAGE, (4,), WEIGHTS]),
    "LevelCascade of all": Case(lambda: cascade(partition=False), [IMAGE, (4,), WEIGHTS]),
    "LevelRouter": Case(lambda: layers.LevelRouter(mean_encoders()), [*LEVELS, WEIGHTS]),
    "LevelRouter of all": Case(lambda: layers.LevelRouter(mean_encoders(), partition=False), [*LEVELS, WEIGHTS]),
    "LevelRouter of images": Case(
        lambda: layers.LevelRouter(mean_encoders(), layers.GaussianPyramid(2)), [IMAGE, WEIGHTS]
    ),
    "LogitFusion": Case(layers.LogitFusion, [LOGITS] * 3),
    "PerLevel": Case(lambda: layers.PerLevel(keras.layers.ReLU()), LEVELS, pairs=False),
    "PyramidConv2D": Case(lambda: layers.PyramidConv2D(2), LEVELS, pairs=False),
    "PyramidDiversity": Case(losses.PyramidDiversity, LEVELS),
    "QueryLevelSelector": Case(lambda: layers.QueryLevelSelector(2), [(4,), (2,), (3,)]),
    "SoftmaxMixture": Case(layers.SoftmaxMixture, [(2, 3), WEIGHTS]),
    "UpsampleConcat": Case(layers.UpsampleConcat, LEVELS),
    "WeightedFusion": Case(layers.WeightedFusion, LEVELS),
    "CostVolume": Case(lambda: layers.CostVolume(1), [IMAGE, IMAGE]),
    "CostVolume of a flow": Case(lambda: layers.CostVolume(1, sampling="lookup"), [IMAGE, IMAGE, FLOW]),
    "Warp2D": Case(layers.Warp2D, [IMAGE, FLOW]),
}

# What takes one tensor with a batch; a temperature, a kernel or a stride is one for all samples.
SINGLE = """
    AdaptiveDepthPyramid AntiAliasedDownsample2D BilinearDownsample2D BlurPool2D ChannelAdaptiveDownsample2D
    ContentAdaptiveDownsample2D FixationSampler GaussianPyramid GumbelLevelSelector LaplacianPyramid
    LearnableDownsample2D LearnableLaplacianPyramid LearnablePyramid LearnableStrideConv2D PyramidBlock
    SpatialTransformerDownsample2D SpectralDownsample2D
    affine_grid bilinear_down binomial box conv_down cumulative_gates depthwise_down fusion_weights gaussian
    gaussian_pyramid gumbel_softmax heaviside_st laplacian_pyramid local_maxima normalize_gradient normalize_kernel
    one_hot_st phase pixel_costs pyr_down pyr_up quantize_st resize_by round_st scale_gradient shifted_pair soft_argmax
    spectral_pool strided_conv2d
""".split()
# What passes on any list of tensors, each by itself.
PASSED_ON = ["GradientNormalization"]
# What broadcasts its arguments.
BROADCAST = ["generalized_iou"]

CASES = {**FUNCTIONS, **LAYERS}
RULE = r"must (have the same batch size|have the shape of|have the same shape|be \[batch, ).* Received: "


def of_tensors(name: str) -> Callable:
    """Return the function of a case, a layer made anew, of its tensors one by one."""
    made = CASES[name].function
    if name in FUNCTIONS:
        return made
    layer = made()
    return lambda *x: layer(list(x))


def test_every_public_name_of_several_inputs_is_tried():
    public = {*ops.__all__, *layers.__all__, *losses.__all__, *metrics.__all__}
    assert public == {*SINGLE, *PASSED_ON, *BROADCAST, *(name.split()[0] for name in CASES if "." not in name)}


def unequal(case: Case) -> list[list[int]]:
    """Return batch sizes of which one differs, a 1 that would broadcast among them."""
    count = len(case.samples)
    ones = [[1 if k == odd else 2 for k in range(count)] for odd in range(count)]
    return [*ones, [4, *[2] * (count - 1)], [*[2] * (count - 1), 3], [1, *[2] * (count - 1)]]


@pytest.mark.parametrize("name", CASES)
def test_batches_that_are_known_to_differ_are_refused(name):
    run = of_tensors(name)
    for batches in unequal(CASES[name]):
        with pytest.raises(ValueError, match=RULE):
            run(*CASES[name].inputs(*batches))
    if name in LAYERS:
        equal = [2] * len(CASES[name].samples)
        run(*CASES[name].inputs(*equal))  # Then it is built, and `build` no longer compares them.
        for batches in unequal(CASES[name]):
            with pytest.raises(ValueError, match=RULE):
                run(*CASES[name].inputs(*batches))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse_shapes_and_symbolic_inputs_of_different_batches(name):
    case = CASES[name]
    for batches in unequal(case):
        with pytest.raises(ValueError, match=RULE):
            case.function().compute_output_shape([(b, *sample) for b, sample in zip(batches, case.samples)])
        with pytest.raises(ValueError, match=RULE):
            case.function()([keras.Input(s, batch_size=b) for b, s in zip(batches, case.samples)])


def traced(name: str, *batches: int | None) -> Any:
    case, run = CASES[name], of_tensors(name)
    if name in LAYERS:
        run(*case.inputs(*[2] * len(case.samples)))  # Weights are made outside of the graph.
    specs = [tf.TensorSpec([b, *s]) for b, s in zip(batches, case.samples)]
    return tf.function(lambda *x: run(*x), input_signature=specs, autograph=False)


GRAPHS = [name for name, case in CASES.items() if case.pairs and "ShiftConsistency" not in name]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.slow
def test_batches_that_a_graph_finds_to_differ_stop_it_before_they_meet(name):
    case = CASES[name]
    count = len(case.samples)
    for known in (None, 2):  # Of the last input.
        function = traced(name, *[None] * (count - 1), known)
        nodes = [node.type for node in function.get_concrete_function().graph.get_operations()]
        # Keras hands over sample weights by themselves.
        assert nodes.count("Assert") == (2 if name.startswith("MultiScaleLoss with") else 1)
        function(*case.inputs(*[2] * count))
        for batches in unequal(case):
            if known in (None, batches[-1]):
                with pytest.raises(tf.errors.InvalidArgumentError, match=r"assertion failed: \[`.* must "):
                    function(*case.inputs(*batches))


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.slow
def test_batches_that_are_known_or_traced_for_other_runtimes_add_nothing_to_the_graph(name):
    count = len(CASES[name].samples)

    def nodes(batch):
        graph = traced(name, *[batch] * count).get_concrete_function().graph
        return [node.type for node in graph.get_operations()]

    assert "Assert" not in nodes(2)
    with portable.portable():
        assert "Assert" not in nodes(None)


@pytest.mark.parametrize("name", [name for name in GRAPHS if not name.startswith("Warp")])
def test_each_sample_meets_its_own_partner(name):
    run, inputs = of_tensors(name), CASES[name].inputs(*[3] * len(CASES[name].samples))
    together = tf.nest.flatten(run(*inputs))
    for k in range(3):
        alone = tf.nest.flatten(run(*(x[k : k + 1] for x in inputs)))
        for y, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(y[k : k + 1], expected, atol=1e-5)


@pytest.mark.slow
def test_a_metric_in_a_graph_compares_its_batches():
    metric = metrics.ShiftConsistency()

    @tf.function(input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3]), tf.TensorSpec([None])])
    def update(a, b, weight):
        metric.update_state(a, b, sample_weight=weight)
        return 0

    update(tf.ones([2, 3]), tf.ones([2, 3]), tf.ones([2]))
    for sizes in ([1, 2, 2], [2, 1, 2], [2, 2, 1]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"assertion failed: \[`y_"):
            update(*(tf.ones([n, 3][: 2 - k // 2]) for k, n in enumerate(sizes)))
    metric.update_state(tf.ones([2, 3]), tf.ones([2, 3]), sample_weight=0.5)  # One weight for all.


@pytest.mark.parametrize("query", [np.ones(2), np.ones(1), 1.0, np.ones([2, 3])], ids=str)
def test_a_query_has_one_number_for_each_class(query):
    rule = "`query` must be a vector of 3 numbers, one for each class. Received: query of shape"
    with pytest.raises(ValueError, match=rule):
        ops.fuse_logits([tf.zeros([2, 3])] * 2, "attention", query=query)


def test_a_query_of_another_length_stops_the_graph():
    fuse = tf.function(
        lambda query: ops.fuse_logits([tf.zeros([2, 3])] * 2, "attention", query=query), [tf.TensorSpec([None])]
    )
    fuse(tf.ones([3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`query` must be a vector of 3 numbers"):
        fuse(tf.ones([1]))


def test_weights_of_windows_that_lie_otherwise_stop_the_graph():
    # As many numbers as are needed, which a reshape would take for weights of another batch.
    run = tf.function(ops.window_mean, [tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, None, None, 4])])
    assert run(tf.ones([2, 4, 4, 1]), tf.ones([2, 2, 2, 4])).shape == (2, 2, 2, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`weights` must be \[batch, ceil"):
        run(tf.ones([2, 4, 4, 1]), tf.ones([1, 4, 2, 4]))


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_router_refuses_weights_of_another_batch_and_pairs_by_index(training, pyramid):
    images = tf.constant([10.0, 20.0, 30.0])[:, None, None, None] * tf.ones([3, 8, 8, 1])
    router = layers.LevelRouter(mean_encoders(), layers.GaussianPyramid(2) if pyramid else None)

    def run(count, choice):
        levels = [images[:count]] if pyramid else [images[:count], -images[:count, ::2, ::2]]
        return router([*levels, tf.one_hot(choice, 2)], training=training)

    for choice in itertools.product([0, 1], repeat=3):
        # Where levels are given, the second is negative.
        expected = [10 * (i + 1) * (1 if pyramid or k == 0 else -1) for i, k in enumerate(choice)]
        np.testing.assert_allclose(run(3, choice)[:, 0], expected, rtol=1e-6)
    for count, choice in ((2, [1, 1, 0, 0]), (2, [1, 0, 1]), (3, [1, 0]), (1, [0, 1]), (3, [1])):
        first = "images" if pyramid else "levels"
        with pytest.raises(
            ValueError, match=f"`{first}` and `weights` must have the same batch size.* Received: batch"
        ):
            run(count, choice)
