"""A program that sees that models cross between the three Kerases: `make test-crossing` runs it in each of them.

    python -m tests.crossing write FOLDER    # models of this Keras, what they hold, and what they answer
    python -m tests.crossing read FOLDER     # those of the other two, here

It writes each model as a file of weights and as a SavedModel, with its weights moved off where they start by numbers
of this Keras's own. Reading, SavedModels are asked before this package can be imported, and files of weights are loaded
into what the same builder makes here. A line is printed for each pair, and the exit status is 1 if anything is off.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

KERASES = ("keras-3", "tf_keras", "keras-2")
# Of the largest magnitude of what is compared.
TOLERANCE = 1e-5
# Every graph here runs once, and costs more to optimise than that.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
Arrays = dict[str, np.ndarray]


def this_keras() -> str:
    """Return which of the three this is, without importing it."""
    if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
        return "tf_keras"
    return f"keras-{importlib.metadata.version('keras').split('.')[0]}"


def segmenter() -> Any:
    """Return a network of many of the layers, with batch normalisation."""
    from tfpyramid import models

    return models.pyramid_segmenter(3, num_levels=3, filters=4, num_convolutions=1)


def visual_questions() -> Any:
    """Return a network that chooses a level and runs one encoder, a model of a class of its own."""
    from tfpyramid import models

    return models.pyramid_vlm(12, 5, num_levels=3, filters=2, units=6)


def cascade_of_questions() -> Any:
    """Return a network that goes to finer levels until it is sure, a model of a class of its own."""
    from tfpyramid import models

    return models.pyramid_vlm(12, 5, objective="cascade", num_levels=3, filters=2, units=6, cost_weight=0.5)


def magnifier() -> Any:
    """Return a network with one output for each level of a Laplacian pyramid."""
    from tfpyramid import models

    return models.pyramid_super_resolution(4, filters=2, num_convolutions=1)


def detector() -> Any:
    """Return a network that finds objects, a model of a class of its own."""
    from tfpyramid import models

    sizes = {"strides": (2, 4), "extra_levels": 1, "filters": 4, "num_convolutions": 1, "max_detections": 5}
    return models.pyramid_detector(3, score_threshold=0.01, **sizes)


def flow() -> Any:
    """Return a network of two images, with one decoder for all levels."""
    from tfpyramid import models

    return models.pyramid_flow(3, filters=2, num_convolutions=1, decoder_filters=(3,), max_displacement=1)


def every_layer() -> Any:
    """Return a model with an output for each layer, and one more where the layer has a straight-through form."""
    from tfpyramid import layers, losses
    from tfpyramid._compat import keras

    image = keras.Input((None, None, 3), name="image")
    steps = {
        "AntiAliasedDownsample2D": {"kernel_bits": 4},
        "ChannelAdaptiveDownsample2D": {"reduction": 1},
        "ContentAdaptiveDownsample2D": {"hidden": 3},
        "LearnableDownsample2D": {"kernel_bits": 4},
        "LearnableStrideConv2D": {"initial_strides": (1.6, 2.3)},
        "SpatialTransformerDownsample2D": {"filters": 2, "grid_size": 2},
        "SpectralDownsample2D": {"initial_strides": (1.5, 2.4)},
    }
    outputs = {}
    for name, arguments in steps.items():
        for hard in (False, True):
            layer = getattr(layers, name)(**arguments, hard=hard, name=name + "_hard" * hard)
            outputs[layer.name] = layer(image)
    for name in ("BilinearDownsample2D", "BlurPool2D"):
        outputs[name] = getattr(layers, name)(name=name)(image)
    outputs["GaussianPyramid"] = layers.GaussianPyramid(2, name="GaussianPyramid")(image)[1]
    bands = layers.LaplacianPyramid(3, name="LaplacianPyramid")(image)
    outputs["LaplacianReconstruction"] = layers.LaplacianReconstruction(name="LaplacianReconstruction")(bands)
    learned = layers.LearnableLaplacianPyramid(3, name="LearnableLaplacianPyramid")
    bands = [keras.layers.ReLU(name=f"band_{k}")(band) for k, band in enumerate(learned(image))]
    inverse = layers.LearnableLaplacianReconstruction(learned, name="LearnableLaplacianReconstruction")
    outputs["LearnableLaplacianReconstruction"] = inverse(bands)
    levels, gates = layers.AdaptiveDepthPyramid(3, hard=True, name="AdaptiveDepthPyramid")(image)
    outputs["gates"] = gates
    levels = losses.PyramidDiversity(name="PyramidDiversity")(levels)
    levels = layers.GradientNormalization(name="GradientNormalization")(levels)
    features = layers.FeaturePyramid(4, name="FeaturePyramid")(levels)
    for hard in (False, True):
        name = "WeightedFusion" + "_hard" * hard
        outputs[name] = layers.WeightedFusion("softmax", per_channel=True, hard=hard, name=name)(features)
    outputs["WeightedFusion_map"] = layers.WeightedFusion(adaptive="map", name="WeightedFusion_map")(features)
    outputs["PyramidBlock"] = layers.PyramidBlock(2, name="PyramidBlock")(image)
    pools = layers.PerLevel(keras.layers.GlobalAveragePooling2D(name="pool"), name="PerLevel")(features)
    outputs["LogitFusion"] = layers.LogitFusion("attention", name="LogitFusion")(pools)
    outputs["Warp2D"] = layers.Warp2D(name="Warp2D")([image, image[..., :2]])
    for hard in (False, True):
        name = "FixationPredictor" + "_hard" * hard
        places = layers.FixationPredictor(2, filters=3, hard=hard, name=name)([image, pools[0]])
        outputs[name] = places
        name = "FoveatedPyramid" + "_hard" * hard
        outputs[name] = layers.FoveatedPyramid(2, 2, hard=hard, name=name)([image, places])[1]
    fixations, scores = layers.FixationSampler(2, name="FixationSampler")(image[..., :1])
    outputs["FixationSampler"] = fixations
    outputs["SoftmaxMixture"] = layers.SoftmaxMixture(name="SoftmaxMixture")([2 * fixations, scores])
    outputs["CostVolume"] = layers.CostVolume(1, name="CostVolume")([image, outputs["Warp2D"]])
    lookup = layers.CostVolume(1, sampling="lookup", name="CostVolume_lookup")
    outputs["CostVolume_lookup"] = lookup([image, image, image[..., :2]])
    _, outputs["mask"] = layers.Warp2D(return_mask=True, name="Warp2D_mask")([image, 3 * image[..., :2] - 1])
    encoders = [
        keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3), keras.layers.GlobalMaxPooling2D()])
        for _ in range(3)
    ]
    confidences = [keras.layers.Dense(1, name=f"confidence_{k}") for k in (1, 2)]
    cascade = layers.LevelCascade(encoders, confidences, layers.LearnablePyramid(3), threshold=0.5, name="LevelCascade")
    outputs["LevelCascade"], outputs["levels"] = cascade(image)
    outputs["GumbelLevelSelector"] = layers.GumbelLevelSelector(name="GumbelLevelSelector")(pools[0])
    return keras.Model(image, outputs, name="every_layer")


BUILDERS: dict[str, Callable] = {
    build.__name__: build
    for build in (cascade_of_questions, detector, every_layer, flow, magnifier, segmenter, visual_questions)
}


def inputs_of(name: str, rng: np.random.Generator) -> Arrays:
    if name == "flow":
        return {key: rng.random([2, 15, 18, 3], np.float32) for key in ("first", "second")}
    inputs: Arrays = {"image": rng.random([2, 15, 18, 3], np.float32)}
    if name in ("cascade_of_questions", "visual_questions"):
        inputs["question"] = rng.integers(0, 12, [2, 4]).astype(np.int32)
    return inputs


def by_position(model: Any, names: list[str]) -> Callable:
    """Return the model as a function of tensors, its outputs in the order of their names."""

    def function(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        y = model(dict(zip(names, tensors)) if len(tensors) > 1 else tensors[0])
        return y if isinstance(y, dict) else {"output": y}

    return function


def answers(function: Callable, inputs: Arrays) -> Arrays:
    """Return the outputs, and the gradient for the image of their sum, each element with a weight of its own."""
    tensors = [tf.constant(x) for x in inputs.values()]
    with tf.GradientTape() as tape:
        tape.watch(tensors[0])
        outputs = dict(sorted(function(*tensors).items()))
        floating = [y for y in outputs.values() if y.dtype.is_floating]
        shares = [tf.reshape(tf.cos(tf.range(tf.size(y), dtype=y.dtype)), tf.shape(y)) for y in floating]
        objective = tf.add_n([tf.reduce_sum(y * share) for y, share in zip(floating, shares)])
    gradient = tape.gradient(objective, tensors[0], unconnected_gradients="zero")
    return {"gradient": gradient.numpy(), **{f"output {name}": y.numpy() for name, y in outputs.items()}}


def write(folder: Path) -> int:
    from tfpyramid import layers
    from tfpyramid._compat import nested_layers, write_saved_model

    seen = {"PyramidDiversity"}
    folder = folder / this_keras()
    folder.mkdir(parents=True)
    for name, build in BUILDERS.items():
        rng = np.random.default_rng(zlib.crc32(f"{name} {this_keras()}".encode()))
        model = build()
        for weight in model.weights:
            weight.assign(weight + 0.1 * tf.cast(rng.random(weight.shape) - 0.3, weight.dtype))
        seen.update(type(layer).__name__ for layer in nested_layers(model))
        inputs = inputs_of(name, rng)
        function = by_position(model, list(inputs))
        specs = [tf.TensorSpec([None, None, None, 3][: x.ndim], x.dtype) for x in inputs.values()]
        model.save_weights(str(folder / f"{name}.weights.h5"))
        write_saved_model(model, {"serve": (function, specs)}, folder / name)
        np.savez(folder / f"{name}.inputs.npz", **inputs)
        np.savez(folder / f"{name}.answers.npz", **answers(function, inputs))
    missing = sorted(set(layers.__all__) - seen)
    if missing:
        print(f"{this_keras()}: no model here has the layers {missing}; put them in tests/crossing.py")
    return bool(missing)


def differences(actual: Arrays, folder: Path, name: str) -> Iterator[tuple[str, float]]:
    """Yield how far each answer is from the one that was written."""
    expected = dict(np.load(folder / f"{name}.answers.npz", allow_pickle=False))
    for key in sorted({*expected, *actual}):
        if key not in expected or key not in actual:
            yield f"{key} is missing", np.inf
        elif expected[key].shape != actual[key].shape:
            yield f"{key} is of shape {actual[key].shape}, not {expected[key].shape}", np.inf
        else:
            # The gradient of detections is 0.
            largest = np.max(np.abs(expected[key])) or 1.0
            error = np.max(np.abs(actual[key] - expected[key])) / largest
            yield key, float(error) if np.isfinite(error) else np.inf


def from_saved_model(folder: Path, name: str) -> Callable:
    assert "tfpyramid" not in sys.modules
    loaded = tf.saved_model.load(str(folder / name))
    # Asked for here: without the model, the endpoint would lose its variables.
    return lambda *tensors: loaded.serve(*tensors)


def from_weights(folder: Path, name: str) -> Callable:
    model = BUILDERS[name]()
    model.load_weights(str(folder / f"{name}.weights.h5"))
    return by_position(model, list(np.load(folder / f"{name}.inputs.npz", allow_pickle=False)))


def read(folder: Path) -> int:
    """Print a line for each way into this Keras, and what is off below it; return 1 if anything is."""
    failed = False
    writers = [keras for keras in KERASES if keras != this_keras()]
    for kind, load in (("SavedModels", from_saved_model), ("weights", from_weights)):
        for writer in writers:
            count, worst, off = 0, 0.0, []
            for name in BUILDERS:
                try:
                    inputs = dict(np.load(folder / writer / f"{name}.inputs.npz", allow_pickle=False))
                    for what, error in differences(answers(load(folder / writer, name), inputs), folder / writer, name):
                        count, worst = count + 1, max(worst, error)
                        if error > TOLERANCE:
                            off.append(f"{name}: {what}: off by {error:.2g} of the largest magnitude")
                except Exception as error:
                    off.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
            state = "FAILED" if off else "equal"
            print(f"{writer} -> {this_keras()}, {kind}: {state}, {count} arrays of {len(BUILDERS)} models, {worst:.1g}")
            print("".join(f"    {line}\n" for line in off), end="", flush=True)
            failed = failed or bool(off)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "read"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    sys.exit({"write": write, "read": read}[given.action](given.folder))
