"""Run a SavedModel on a folder of images with Apache Beam, on one machine or on a cluster.

    python examples/quickstart.py        # trains the model
    python examples/predict_images.py    # runs it on the test images of easy-VQA

Without arguments, the example takes the test images of the package easy-vqa and the model that quickstart.py exports.
Any PNG or JPEG files, and any SavedModel that takes floating-point images from 0 to 1, will do:

    python examples/predict_images.py 'photographs/**.jpg' MODEL OUTPUT --direct_num_workers 2 \\
        --direct_running_mode multi_processing

OUTPUT gets Parquet files: `results` has a row for each image, `dead_letters` a row for each file that cannot be read,
with the reason. OUTPUT_predictions.png shows a random sample of the results; `--seed` chooses the sample.

If the pipeline is interrupted, run the same command again. It resumes, and skips the files that are finished.

Options that are not listed here go to Apache Beam: `--runner FlinkRunner --flink_master ...` runs the same pipeline on
a cluster.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import running

with running.imports("predict_images", extra="examples,beam"):
    import apache_beam
    import numpy as np
    import pyarrow.parquet
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from PIL import Image
    from predictions_figure import Prediction, draw
    from tqdm import tqdm

    from tfpyramid.export import Pixels
    from tfpyramid.scale.beam import PredictImages

SHOWN = 12  # Images in the figure.


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    parser = running.parser(__doc__)
    files = "pattern of PNG or JPEG files, in quotes (default: the test images of easy-VQA)"
    model = "SavedModel, or a folder of its versions (default: %(default)s)"
    output = "new folder, or the folder of an interrupted run (default: %(default)s)"
    classes = "file with the name of a class in each line (default: classes.txt in the folder of MODEL)"
    parser.add_argument("files", nargs="?", help=files)
    parser.add_argument("model", nargs="?", default="quickstart_output/saved_model", help=model)
    parser.add_argument("output", nargs="?", default="predict_images_output", help=output)
    parser.add_argument("--classes", type=Path, help=classes)
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="resize images to this")
    parser.add_argument("--signature", default="serving_default", help="signature of the model (default: %(default)s)")
    parser.add_argument("--format", default="parquet", choices=("parquet", "tfrecord"), help="format of the output")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: %(default)s)")
    parser.add_argument("--files-per-part", type=int, default=256, help="files per output file (default: %(default)s)")
    return parser.parse_known_args()


def main() -> None:
    options, beam_arguments = parse_options()
    if not os.path.exists(options.model):
        sys.exit(f"predict_images: no model at {options.model}. Run quickstart.py first, or pass a SavedModel.")
    try:
        predict = PredictImages(
            options.files or easy_vqa_images(),
            model=options.model,
            output=options.output,
            signature=options.signature,
            pixels=Pixels(image_size=options.image_size and tuple(options.image_size)),
            file_format=options.format,
            batch_size=options.batch_size,
            files_per_part=options.files_per_part,
        )
        beam_options = PipelineOptions(beam_arguments)
        # Beam's default runner first tries to download a runner in Go, and leaves temporary folders if it cannot.
        runner = beam_options.view_as(StandardOptions).runner or "FnApiRunner"
        pipeline = apache_beam.Pipeline(runner, beam_options)
        _ = pipeline | predict
    except (ValueError, OSError) as error:
        sys.exit(f"predict_images: {error}")
    with progress(Path(options.output, "_job")):
        result = pipeline.run()
        result.wait_until_finish()
    counters = {each.key.metric.name: each.committed for each in result.metrics().query()["counters"]}
    images, dead, loaded = (counters.get(name, 0) for name in ("images", "dead_letters", "models_loaded"))
    print(f"{images} images predicted, {dead} dead letters, model loaded {loaded} times: {options.output}")
    if options.format == "parquet" and os.path.isdir(options.output):
        path = Path(options.output).parent / f"{Path(options.output).name}_predictions.png"
        with running.written_aside(path) as partial:
            predictions = sample_of(Path(options.output), options.seed)
            draw("A sample of the predictions", predictions, class_names(options)).savefig(partial, format="png")
        print(f"A sample of the results: {path}")


def easy_vqa_images() -> str:
    """Return the pattern of the test images of the package easy-vqa."""
    with running.imports("predict_images"):
        import easy_vqa

    return str(Path(next(iter(easy_vqa.get_test_image_paths().values()))).parent / "*.png")


def class_names(options: argparse.Namespace) -> list[str]:
    """Return the names of the classes, or an empty list if there is no file of them."""
    path = options.classes or Path(options.model).parent / "classes.txt"
    return path.read_text().splitlines() if options.classes or path.exists() else []


def sample_of(output: Path, seed: int) -> list[Prediction]:
    """Return random rows of the results, each with its first output that is a vector of numbers."""
    table = pyarrow.parquet.read_table(output / "results")
    chosen = np.random.default_rng(seed).permutation(len(table))[:SHOWN]
    predictions = []
    for row in table.take(chosen).to_pylist():
        vectors = [np.asarray(row[name]) for name in row if len(row.get(f"{name}/shape", [])) == 1]
        numbers = [vector for vector in vectors if vector.dtype.kind in "fiu"]
        path = Path(row["file"])
        # On a cluster, the images may be on another machine.
        image = np.asarray(Image.open(path).convert("RGB")) if path.is_file() else None
        title = f"{path.name}, {row['height']} × {row['width']}"
        predictions.append(Prediction(title, image, numbers[0] if numbers else None))
    return predictions


@contextmanager
def progress(job: Path) -> Iterator[None]:
    """Show how many parts of the output are finished while the pipeline runs."""
    ended = threading.Event()

    def show() -> None:
        with tqdm(desc="Predicting", bar_format="{desc}, finished output files: {n}, {elapsed}") as bar:
            while not ended.wait(0.5):
                bar.n = len(list(job.glob("part-*.json")))
                bar.refresh()
            bar.n = len(list(job.glob("part-*.json")))

    thread = threading.Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    running.run("predict_images", main)
