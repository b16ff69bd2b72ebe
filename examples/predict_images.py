"""Answer a folder of images by a SavedModel, on one machine or many, and go on after an interruption.

    python examples/predict_images.py 'photographs/**.jpg' MODEL OUTPUT --direct_num_workers 2 \
        --direct_running_mode multi_processing

MODEL is a SavedModel that takes images of floating point from 0 to 1, as `tfpyramid.export.export_saved_model` writes
it. OUTPUT gets the folders `results` and `dead_letters` of Parquet files. What is not named here is an option of Apache
Beam: `--runner FlinkRunner --flink_master ...` runs the same pipeline on a cluster. When it is interrupted, start it
again as before.
"""

from __future__ import annotations

import argparse
import logging
import sys

import running

with running.imports("predict_images"):
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    from tfpyramid.export import Pixels
    from tfpyramid.scale.beam import PredictImages


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("files", help="a pattern of images, PNG or JPEG; quote it")
    parser.add_argument("model", help="a SavedModel, or a folder of versions")
    parser.add_argument("output", help="a folder that is empty or not there")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="resize images to this")
    parser.add_argument("--signature", default="serving_default", help="of the model")
    parser.add_argument("--format", default="parquet", choices=("parquet", "tfrecord"), help="of the files written")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--files-per-part", type=int, default=256)
    return parser.parse_known_args()


def main() -> None:
    options, rest = parse_options()
    logging.getLogger("tfpyramid").setLevel(logging.INFO)
    try:
        predicted = PredictImages(
            options.files,
            model=options.model,
            output=options.output,
            signature=options.signature,
            pixels=Pixels(image_size=options.image_size and tuple(options.image_size)),
            file_format=options.format,
            batch_size=options.batch_size,
            files_per_part=options.files_per_part,
        )
        beam_options = PipelineOptions(rest)
        # Beam's default first tries a runner in Go, and leaves temporary folders if it cannot download that.
        runner = beam_options.view_as(StandardOptions).runner or "FnApiRunner"
        pipeline = apache_beam.Pipeline(runner, beam_options)
        _ = pipeline | predicted
    except (ValueError, OSError) as error:
        sys.exit(f"predict_images: {error}")
    result = pipeline.run()
    result.wait_until_finish()
    counters = {each.key.metric.name: each.committed for each in result.metrics().query()["counters"]}
    images, dead, loaded = (counters.get(name, 0) for name in ("images", "dead_letters", "models_loaded"))
    print(f"{images} images answered, {dead} dead letters, the model loaded {loaded} times: {options.output}")


if __name__ == "__main__":
    running.run("predict_images", main)
