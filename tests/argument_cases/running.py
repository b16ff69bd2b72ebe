"""What exports, writes and draws."""

import functools
import tempfile
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tests.argument_cases.functions import STEP, trained
from tests.argument_cases.row import IMAGES, LEVELS, Row
from tfpyramid import export, scale, visualize
from tfpyramid.scale.beam import PredictImages


def _values(tiles: Iterator[scale.tiles.Tile]) -> list[np.ndarray]:
    return [tile.values for tile in tiles]


_FOLDER = tempfile.TemporaryDirectory()


@functools.cache
def _exported() -> str:
    module = tf.Module()
    images = tf.TensorSpec([None, None, None, 3], name="images")
    module.answer = tf.function(lambda images: {"mean": tf.reduce_mean(images, [1, 2, 3])}, [images])
    tf.saved_model.save(module, _FOLDER.name, {"serving_default": module.answer})
    return _FOLDER.name


ROWS = [
    Row(export.Pixels, lambda: {"input": "image", "image_size": (5, 4), "value_range": (-1.0, 1.0), "max_pixels": 99}),
    Row(
        export.export_saved_model,
        lambda: {
            "model": trained(),
            "path": "model",
            "version": 2,
            "image_bytes": False,
            "uint8": False,
            "pixels": export.Pixels(),
            "warmup": False,
            "sample": IMAGES,
            "overwrite": True,
            "portable": False,
            "verify": True,
        },
        stopped=("write_saved_model",),
        no_lists=frozenset({"sample"}),
        raises=(FileExistsError,),
    ),
    Row(
        export.load_saved_model,
        lambda: {"path": _exported(), "signature": "serving_default"},
        use=lambda function: function(images=np.ones([1, 2, 2, 3], np.float32)),
    ),
    Row(
        scale.pyr_down_tiles,
        lambda: {"image": IMAGES[0], "tile_size": 2, "dtype": np.float32, **STEP},
        use=_values,
        arrays_only=frozenset({"image"}),
    ),
    Row(
        scale.pyr_up_tiles,
        lambda: {"image": IMAGES[0], "output_size": (9, 10), "tile_size": 2, "dtype": np.float32, **STEP},
        use=_values,
        arrays_only=frozenset({"image"}),
    ),
    Row(
        scale.write_ome_zarr,
        lambda: {
            "image": IMAGES[0],
            "path": "image.zarr",
            "num_levels": 2,
            "kind": "image",
            "laplacian": True,
            "tile_size": 2,
            "pixel_size": 0.5,
            "unit": "micrometer",
            "verbose": False,
            **STEP,
        },
        stopped=("UnfinishedStore",),
        arrays_only=frozenset({"image"}),
        raises=(FileExistsError,),
    ),
    Row(
        PredictImages,
        lambda: {
            "file_pattern": "*.png",
            "model": _exported(),
            "output": "answers",
            "signature": "serving_default",
            "pixels": export.Pixels(),
            "file_format": "tfrecord",
            "batch_size": 2,
            "files_per_part": 3,
            "max_pixels": 100,
        },
        use=lambda transform: type(transform).__name__,
        raises=(FileExistsError,),
    ),
    Row(visualize.flow_colors, lambda: {"flow": IMAGES, "max_length": 0.5}),
    Row(
        visualize.show_fixations,
        lambda: {
            "images": IMAGES[..., :1],
            "fixations": np.float32([[0.25, 0.75]]),
            "size": 2,
            "num_levels": 3,
            "scale_factor": 1.5,
            "maps": np.float32(np.ones([1, 1, 2, 3])),
        },
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_flow,
        lambda: {"flow": IMAGES, "max_length": 0.5, "index": 0},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_cost_curve,
        lambda: {"curves": {"cascade": (None, np.float32([0.5, 0.9]), np.float32([0.1, 1.0]))}},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_gates,
        lambda: {"gates": np.float32([[0.0, 0.5], [0.25, 1.0]]), "names": ["one", "two"]},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_gradient_norms,
        lambda: {"history": {"gradient_norm/pyramid/level_1": [1.0, 0.5]}},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_level_weights,
        lambda: {"weights": np.float32([[0.0, 1.0], [0.25, 0.75]]), "names": ["one", "two"]},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_pyramid,
        lambda: {"levels": LEVELS, "titles": ["one", "two"], "signed": [True, False], "index": 0},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_pyramid,
        lambda: {"levels": LEVELS, "titles": False, "signed": True, "index": 0},
        use=lambda figure: len(figure.axes),
        label="flags",
    ),
    Row(
        visualize.show_kernels,
        lambda: {"layer_or_kernels": {"a": np.eye(3)}, "names": ["one"], "strides": 2.0},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_sampling_grid,
        lambda: {"image": IMAGES[0, :, :, 0], "points": np.float32(np.ones([2, 2, 2]))},
        use=lambda figure: len(figure.axes),
    ),
    Row(
        visualize.show_strides,
        lambda: {"history": {"stride": [[1.0, 2.0], [1.5, 2.0]]}},
        use=lambda figure: len(figure.axes),
    ),
]
