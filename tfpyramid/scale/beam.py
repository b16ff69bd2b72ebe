"""PredictImages, a transform of Apache Beam; needs the extra `beam`."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.export.load import resolve
from tfpyramid.export.pixels import Pixels
from tfpyramid.scale._predictor import DeadLetter, Predictor, Row

try:
    import apache_beam as beam
    from apache_beam.metrics import Metrics
    from apache_beam.utils.shared import Shared

    from tfpyramid.scale import _job, _paths, _rows
except ImportError as error:
    raise ImportError(
        f"tfpyramid.scale.beam needs Apache Beam, which could not be imported ({error}): pip install 'tfpyramid[beam]'"
    ) from error

__all__ = ["PredictImages"]

# More than this, of a PNG of 16 bits and 4 channels, no file of a pixel has.
_BYTES_PER_PIXEL = 16
_HEADERS = 2**20


class PredictImages(beam.PTransform):
    """Answer a folder of images, of any number and of mixed sizes, by a SavedModel, on the workers of a Beam pipeline.

    The files are divided into parts. A worker reads the files of a part, gives images of one size to the model
    together, and writes two files: in `results` a row for each image, in `dead_letters` a row for each file that could
    not be answered, with the reason. A FIFO, a socket, a device or a link to nothing is a dead letter too. When all
    parts are finished, `_SUCCESS` is written.

    If a pipeline is interrupted, the same call resumes it: it skips finished parts and writes the others. Each file
    that matched when the first call began has one row, in one of the two folders.

    Convention:
        Files are read as by the signature "image_bytes" of `export_saved_model`: PNG or JPEG, by their contents. Rows
        have the columns `file`; `height` and `width` of the image in the file; and for each output of the model its
        numbers as a list, row-major, and their shape as another, `<output>/shape`. Half precision is widened to
        float32. TFRecord holds `tf.train.Example`, which has no float64, and no whole numbers but int64. Rows of dead
        letters have `file` and `reason`. A byte of a file's name that is not UTF-8 is written as in Python,
        "caf\\xe9.png"; the backslashes of such a name, and of one that only looks so, are doubled. The order of rows in
        a part is that in which batches became full.

        Files are written aside and renamed, and `_job` holds the sizes and checksums of finished parts. The next call
        compares them with the files, and writes a missing or damaged part again. Several pipelines may make the same
        call at once: the first that finishes a part keeps it, so all return the same results.

        On a disk, of this machine or mounted by all workers, files are synced before they are renamed, a part is locked
        meanwhile, and links in `output` are refused. A killed worker leaves unfinished files in `_job`; the next call
        removes them. Other file systems have no locks: start one pipeline at a time there. A killed worker then leaves
        a folder "tfpyramid-aside-..." in the temporary folder of its machine, and the next worker there removes it.
        Folders named "beam-..." are of Beam: a killed `beam.Pipeline` leaves one, and so does Beam's default runner.

        Counters in the namespace "tfpyramid" tell "images", "dead_letters" and "models_loaded"; the logger "tfpyramid"
        tells of each part.

    Args:
        file_pattern: which files, as Beam has it: "photographs/*.jpg", or with "**" for folders within; local, or of
            any file system that Beam knows. A name in which "*", "?" or "[" are ordinary characters is a name if a file
            or a folder has it: "br[1].png" is that file if it exists, else "br1.png". A list may hold several.
        model: path of a SavedModel, or of a folder of versions, that workers can read.
        output: the folder to write to: empty, or a new one, or the one of an interrupted call with the same arguments.
        signature: which of the model's; it must take one input, a batch of images, of floating point or uint8.
        pixels: the size that images are resized to, and what their bytes mean to an input of floating point. Sides of
            the input that are both known are a size too. Its `max_pixels` counts if it is less than the one below.
        file_format: "parquet" or "tfrecord".
        batch_size: the images that are given to the model together, at least 1.
        files_per_part: at least 1; what a worker has to do again when it was killed.
        max_pixels: what an image may have, and those that wait for others of their size may have together, 1 to 2**30.

    Returns:
        When applied to a pipeline, a PCollection of the paths of `results`.

    Raises:
        ValueError: if an argument breaks a rule above, or no file matches, or `output` was begun with other arguments,
            or what it says of them is damaged; the error then names what to remove.
        FileExistsError: if `output` contains anything else.
        ImportError: if Apache Beam is not installed.

    Example:
        >>> import pyarrow.parquet
        >>> images, path, output = (os.path.join(folder, name) for name in ("*.png", "model", "output"))
        >>> white = tf.fill([9, 7, 3], tf.constant(255, tf.uint8))
        >>> tf.io.write_file(images.replace("*", "white"), tf.io.encode_png(white))
        >>> taken = [tf.TensorSpec([None, None, None, 3], name="image")]
        >>> mean = tf.function(lambda image: {"mean": tf.reduce_mean(image, axis=[1, 2])}, input_signature=taken)
        >>> tf.saved_model.save(tf.Module(), path, signatures=mean)
        >>> with beam.Pipeline() as pipeline:
        ...     paths = pipeline | PredictImages(images, model=path, output=output)
        >>> pyarrow.parquet.read_table(os.path.join(output, "results")).drop_columns("file").to_pylist()
        [{'height': 9, 'width': 7, 'mean': [1.0, 1.0, 1.0], 'mean/shape': [3]}]
    """

    def __init__(
        self,
        file_pattern: str | Path | Sequence[str | Path],
        *,
        model: str | Path,
        output: str | Path,
        signature: str = "serving_default",
        pixels: Pixels = Pixels(),
        file_format: str = "parquet",
        batch_size: int = 32,
        files_per_part: int = 256,
        max_pixels: int = 2**27,
    ) -> None:
        super().__init__()
        self._file_pattern = _paths.patterns(file_pattern)
        _paths.check_known("file_pattern", self._file_pattern)
        self._files_per_part = _checks.integer("files_per_part", files_per_part, 1)
        file_format = _checks.one_of("file_format", file_format, _rows.WRITERS)
        batch_size = _checks.integer("batch_size", batch_size, 1)
        max_pixels = _checks.integer("max_pixels", max_pixels, 1, "of an image", maximum=_checks.MOST_PIXELS)
        if not isinstance(pixels, Pixels):
            raise ValueError(f"`pixels` must be a tfpyramid.export.Pixels. {_checks.received('pixels', pixels)}")
        output = _paths.absolute("output", output)
        _paths.check_known("output", output)
        path = _paths.absolute("model", model)
        # Loaded here first, so that a wrong model is one error and not one of each worker.
        _rows.columns_of(Predictor(path, signature, pixels, batch_size, max_pixels).outputs)
        path = resolve(path)
        self._predict = _PredictPart(_job.Job(output, file_format), (path, signature, pixels, batch_size, max_pixels))
        # What rows depend on; images can be given together as suits the worker.
        self._arguments = {
            "model": path,
            "model_checksum": _checksum(path),
            "signature": signature,
            "pixels": repr(pixels),
            "max_pixels": max_pixels,
            "file_format": file_format,
        }

    def expand(self, begin: Any) -> Any:
        job = self._predict.job
        parts = job.begin(self._file_pattern, self._files_per_part, self._arguments)
        results = (
            begin.pipeline
            # Plain tuples: one worker makes them before all others begin, and need not import TensorFlow for that.
            | "Parts" >> beam.Create([tuple(part) for part in parts], reshuffle=False)
            # Without it a runner may give all of them to one worker.
            | "Share" >> beam.Reshuffle()
            | "Predict" >> beam.ParDo(self._predict)
        )
        _ = results | beam.combiners.Count.Globally() | "Finish" >> beam.Map(lambda _: job.finish())
        return results


class _PredictPart(beam.DoFn):
    """Writes a part of a job, if it is not finished."""

    def __init__(self, job: _job.Job, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.job, self.arguments = job, arguments
        *_, max_pixels = arguments
        self._limit = _BYTES_PER_PIXEL * max_pixels + _HEADERS
        self._shared = Shared()

    def setup(self) -> None:
        self.job.clear()

    def process(self, element: tuple[int, ...]) -> Iterator[str]:
        part = _job.Part(*element)
        if not self.job.is_finished(part):
            self._write(part)
        yield self.job.results(part)

    def _write(self, part: _job.Part) -> None:
        # One for all threads of a process.
        predictor = self._shared.acquire(self._load)
        files = ((file, functools.partial(_paths.contents, file, self._limit)) for file in self.job.files(part))
        columns, new = _rows.columns_of(predictor.outputs), _rows.WRITERS[self.job.file_format]
        counts = {Row: 0, DeadLetter: 0}
        with self.job.written(part) as paths:
            results, dead_letters = new(paths[_job.RESULTS], columns), new(paths[_job.DEAD_LETTERS], _rows.DEAD_LETTERS)
            with results as write_row, dead_letters as write_dead_letter:
                for answer in predictor(files):
                    counts[type(answer)] += 1
                    if isinstance(answer, Row):
                        write_row(_rows.cells_of(answer))
                    else:
                        write_dead_letter(_rows.letter_of(answer))
        _count("images", counts[Row])
        _count("dead_letters", counts[DeadLetter])
        _paths.log.info("Part %d of %d: %d images, %d dead letters", part.number + 1, part.total, *counts.values())

    def _load(self) -> Predictor:
        _count("models_loaded", 1)
        return Predictor(*self.arguments)


def _count(name: str, number: int) -> None:
    Metrics.counter("tfpyramid", name).inc(number)


def _checksum(path: str) -> int:
    """Return a number that another model hardly has: of its graph, and of the checksums of its weights."""
    names = ("saved_model.pb", "variables/variables.index")
    parts = (tf.io.gfile.GFile(f"{path}/{name}", "rb").read() for name in names if tf.io.gfile.exists(f"{path}/{name}"))
    return functools.reduce(lambda sum, part: zlib.crc32(part, sum), parts, 0)
