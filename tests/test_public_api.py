"""The names that users import, and the habits that every one of them keeps."""

import importlib
import inspect
import pathlib
import re

import pytest

import tfpyramid
from tfpyramid._compat import keras

PUBLIC = {
    "tfpyramid": {
        "__version__",
        "export",
        "layers",
        "losses",
        "metrics",
        "models",
        "ops",
        "scale",
        "training",
        "visualize",
    },
    "tfpyramid.export": {"Pixels", "export_saved_model", "load_saved_model"},
    "tfpyramid.layers": {
        "AdaptiveDepthPyramid",
        "AntiAliasedDownsample2D",
        "BilinearDownsample2D",
        "BlurPool2D",
        "ChannelAdaptiveDownsample2D",
        "ContentAdaptiveDownsample2D",
        "CostVolume",
        "FeaturePyramid",
        "FixationPredictor",
        "FixationSampler",
        "FoveatedPyramid",
        "GaussianPyramid",
        "GradientNormalization",
        "GumbelLevelSelector",
        "LaplacianPyramid",
        "LaplacianReconstruction",
        "LearnableDownsample2D",
        "LearnableLaplacianPyramid",
        "LearnableLaplacianReconstruction",
        "LearnablePyramid",
        "LearnableStrideConv2D",
        "LevelCascade",
        "LevelRouter",
        "LogitFusion",
        "PerLevel",
        "PyramidBlock",
        "PyramidConv2D",
        "QueryLevelSelector",
        "SoftmaxMixture",
        "SpatialTransformerDownsample2D",
        "SpectralDownsample2D",
        "UpsampleConcat",
        "Warp2D",
        "WeightedFusion",
    },
    "tfpyramid.losses": {
        "Charbonnier",
        "EndPointError",
        "GeneralizedIoU",
        "LaplacianPyramidLoss",
        "MultiScaleLoss",
        "MultiScaleSSIM",
        "PyramidDiversity",
        "laplacian_pyramid_loss",
        "multi_scale_loss",
        "pyramid_diversity_loss",
    },
    "tfpyramid.metrics": {"EndPointError", "MultiScaleSSIM", "ShiftConsistency", "shifted_pair"},
    "tfpyramid.models": {
        "antialias",
        "calibrate_confidence",
        "cost_curve",
        "feature_levels",
        "pyramid_classifier",
        "pyramid_detector",
        "pyramid_flow",
        "pyramid_segmenter",
        "pyramid_super_resolution",
        "pyramid_vlm",
        "with_text_input",
    },
    "tfpyramid.ops": {
        "affine_grid",
        "align_levels",
        "bilinear_down",
        "bilinear_sample",
        "binomial",
        "blend",
        "box",
        "cascade_costs",
        "conv_down",
        "cost_volume",
        "cumulative_gates",
        "depthwise_down",
        "exposure_fusion",
        "focus_stack",
        "foveated_pyramid",
        "fuse_logits",
        "fusion_weights",
        "gaussian",
        "gaussian_pyramid",
        "generalized_iou",
        "gumbel_softmax",
        "heaviside_st",
        "laplacian_pyramid",
        "local_maxima",
        "multi_scale_ssim",
        "normalize_gradient",
        "normalize_kernel",
        "one_hot_st",
        "phase",
        "pixel_costs",
        "pyr_down",
        "pyr_up",
        "quantize_st",
        "reconstruct",
        "resize_by",
        "round_st",
        "scale_gradient",
        "soft_argmax",
        "softmax_mixture",
        "spectral_pool",
        "strided_conv2d",
        "surrogate_st",
        "warp",
        "window_mean",
    },
    "tfpyramid.scale": {"pyr_down_tiles", "pyr_up_tiles", "write_ome_zarr"},
    "tfpyramid.scale.beam": {"PredictImages"},
    "tfpyramid.training": {
        "PyramidMonitor",
        "TemperatureAnnealing",
        "discriminative_optimizer",
        "fit_distributed",
        "multi_worker_strategy",
    },
    "tfpyramid.visualize": {
        "flow_colors",
        "show_cost_curve",
        "show_fixations",
        "show_flow",
        "show_gates",
        "show_gradient_norms",
        "show_kernels",
        "show_level_weights",
        "show_pyramid",
        "show_sampling_grid",
        "show_strides",
    },
}
SOURCES = sorted(pathlib.Path(tfpyramid.__file__).parent.rglob("*.py"))
REFERENCE = pathlib.Path(__file__).parents[1] / "docs/api"
EVERYTHING = [(module, name) for module in PUBLIC if module != "tfpyramid" for name in sorted(PUBLIC[module])]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_these(module):
    assert set(importlib.import_module(module).__all__) == PUBLIC[module]


def test_packages_are_found_before_their_first_use():
    assert PUBLIC["tfpyramid"] <= set(dir(tfpyramid))
    assert tfpyramid.__getattr__("scale") is importlib.import_module("tfpyramid.scale")
    with pytest.raises(AttributeError, match="has no attribute 'pyramids'"):
        tfpyramid.pyramids


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_classes_that_keras_loads_are_registered_by_the_first_import(path):
    if path.relative_to(pathlib.Path(tfpyramid.__file__).parent).parts[0] in ("export", "scale", "visualize"):
        assert not re.search(r"^@register|register_keras_serializable", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("module, name", EVERYTHING)
def test_docstring_has_its_parts(module, name):
    thing = getattr(importlib.import_module(module), name)
    docstring = inspect.getdoc(thing)
    parts = ["Args:", "Raises:"]
    if inspect.isclass(thing):
        parts += ["Example:"]
        # To Keras 2 a metric is a layer.
        is_layer = issubclass(thing, keras.layers.Layer) and not issubclass(thing, keras.metrics.Metric)
        parts += ["Input shape:", "Output shape:"] if is_layer else []
    else:
        parts += ["Returns:"]
    if module == "tfpyramid.ops" and name in ("binomial", "box", "gaussian"):
        parts = ["Raises:"]
    missing = [part for part in parts if part not in docstring]
    assert not missing, f"{name} lacks {missing}"
    if name.endswith("_st"):
        assert "Forward: " in docstring and "Backward: " in docstring


@pytest.mark.parametrize("module, name", EVERYTHING)
def test_every_argument_is_documented_and_annotated(module, name):
    thing = getattr(importlib.import_module(module), name)
    function = thing.__init__ if inspect.isclass(thing) else thing
    docstring = inspect.getdoc(thing)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name} has no annotation"
        assert re.search(rf"`?\**{parameter.name}`?", docstring), f"{name}: {parameter.name} is not in the docstring"


@pytest.mark.parametrize("module", [module for module in PUBLIC if module != "tfpyramid"])
def test_reference_has_every_public_name(module):
    page = (REFERENCE / f"{module.split('.')[1]}.md").read_text()
    listed = re.findall(rf"^::: {re.escape(module)}\.(\w+)$", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    missing = PUBLIC[module] - set(listed)
    assert not missing, f"docs/api lacks {missing}"


def test_options_are_keyword_only():
    # What has a default and is not among the first three is an option.
    for module, name in EVERYTHING:
        thing = getattr(importlib.import_module(module), name)
        parameters = list(inspect.signature(thing).parameters.values())
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        late = [p.name for p in positional[3:] if p.default is not p.empty]
        assert not late, f"{name} takes {late} by position"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_private_parts_of_the_frameworks_are_not_used(path):
    text = path.read_text()
    assert not re.search(r"(tensorflow\.python|keras\.src)", text)
    assert not re.search(r"\b(pickle|eval|exec)\b\(?", re.sub(r'"""[\s\S]*?"""|#.*', "", text))
    assert "Lambda(" not in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
