"""PredictImages, a transform of Apache Beam; requires the extra `beam`."""

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
        "tfpyramid.scale.beam requires Apache Beam. Install it with: pip install 'tfpyramid[beam]'. "
        f"Received: {type(error).__name__}: {error}"
    ) from error

__all__ = ["PredictImages"]

# Bounds of the size of an image file. An uncompressed PNG of 16 bits and 4 channels has 8 bytes per pixel.
_BYTES_PER_PIXEL = 16
_HEADER_BYTES = 2**20


class PredictImages(beam.PTransform):
    """Apply a SavedModel to a folder of images of mixed sizes, on the workers of an Apache Beam pipeline.

    The files are divided into parts. A worker reads the files of a part, applies the model to batches of images of one
    size, and writes two files: in `results` a row for each image, and in `dead_letters` a row for each file that could
    not be processed, with the reason. FIFOs, sockets, devices and broken links are dead letters too. When all parts are
    finished, `_SUCCESS` is written.

    If a pipeline is interrupted, the same call resumes it: it skips finished parts and writes the others. Each file
    that matched when the first call started has one row, in one of the two folders.

    Convention:
        Files are read as by the signature "image_bytes" of `export_saved_model`: PNG or JPEG, by their contents. Rows
        have the columns `file`, and `height` and `width` of the image in the file. Each output of the model has two
        columns: `<output>`, its numbers as a list in row-major order, and `<output>/shape`, its shape. Half precision
        is converted to float32. TFRecord files hold `tf.train.Example`, which has no float64 and no integers but int64.
        Rows of dead letters have `file` and `reason`. In the name of a file, a byte that is not UTF-8 is written as in
        Python, "caf\\xe9.png"; the backslashes of such a name, and of a name with such an escape sequence, are
        doubled. Rows of a part are in the order in which their batches became full.

        Files are written to a staging folder and renamed, and `_job` holds the sizes and checksums of finished parts.
        The next call compares them with the files, and writes a missing or damaged part again. Several pipelines may
        make the same call at once: the first that finishes a part keeps it, so all return the same results.

        On a disk, local or mounted by all workers, files are synced before they are renamed, a part is locked in the
        meantime, and links in `output` are refused. A killed worker leaves unfinished files in `_job`, which the next
        call removes. Other file systems have no locks: start one pipeline at a time there. A killed worker then leaves
        a folder "tfpyramid-aside-..." in the temporary folder of its machine, and the next worker there removes it.
        Folders "beam-..." belong to Beam: a killed `beam.Pipeline` leaves one, and so does Beam's default runner.

        The counters "images", "dead_letters" and "models_loaded" are in the namespace "tfpyramid". The logger
        "tfpyramid" logs each part.

    Args:
        file_pattern: the files, as a pattern of Beam: "photographs/*.jpg", or with "**" to include subfolders; local,
            or on any file system that Beam knows. If a file or a folder has just this name, "*", "?" and "[" in it are
            ordinary characters: "br[1].png" is the file of that name if it exists, else "br1.png". A list may hold
            several patterns.
        model: path of a SavedModel, or of a folder of versions, that workers can read.
        output: the folder to write to: empty, or new, or the folder of an interrupted call with the same arguments.
        signature: the name of the model's signature. It must take one input, a batch of images of floating point or
            uint8.
        pixels: the size that images are resized to, and how bytes are mapped to the values of a floating-point input.
            Without a size in `pixels`, images are resized to the height and width of the input if both are known. The
            smaller `max_pixels`, in `pixels` or below, applies.
        file_format: "parquet" or "tfrecord".
        batch_size: the number of images in a batch, at least 1.
        files_per_part: the number of files in a part, at least 1. A worker that is killed loses the work of one part.
        max_pixels: the most pixels of an image, and of all images that wait for others of their size, 1 to 2**30.

    Returns:
        When applied to a pipeline, a PCollection of the paths of `results`.

    Raises:
        ValueError: an argument breaks a rule above; no file matches; `output` was started with other arguments; or its
            record is damaged, and the message then names what to remove.
        FileExistsError: `output` holds other files.
        ImportError: Apache Beam is not installed.

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
        max_pixels = _checks.integer(
            "max_pixels", max_pixels, 1, "the most pixels of an image", maximum=_checks.MOST_PIXELS
        )
        if not isinstance(pixels, Pixels):
            raise ValueError(f"`pixels` must be a tfpyramid.export.Pixels. {_checks.received('pixels', pixels)}")
        output = _paths.absolute("output", output)
        _paths.check_known("output", output)
        path = _paths.absolute("model", model)
        # Load the model here first, so that a wrong one is one error instead of one error per worker.
        _rows.columns_of(Predictor(path, signature, pixels, batch_size, max_pixels).outputs)
        path = resolve(path)
        self._predict = _PredictPart(_job.Job(output, file_format), (path, signature, pixels, batch_size, max_pixels))
        # A call that resumes must not change these, because rows depend on them; rows do not depend on `batch_size`.
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
            # Plain tuples, so that the worker that makes them need not import TensorFlow.
            | "Parts" >> beam.Create([tuple(part) for part in parts], reshuffle=False)
            # Otherwise a runner may give all parts to one worker.
            | "Distribute" >> beam.Reshuffle()
            | "Predict" >> beam.ParDo(self._predict)
        )
        _ = results | beam.combiners.Count.Globally() | "Finish" >> beam.Map(lambda _: job.finish())
        return results


class _PredictPart(beam.DoFn):
    """Writes a part of a job unless it is finished."""

    def __init__(self, job: _job.Job, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.job, self.arguments = job, arguments
        *_, max_pixels = arguments
        self._limit = _BYTES_PER_PIXEL * max_pixels + _HEADER_BYTES
        self._shared = Shared()

    def setup(self) -> None:
        self.job.clear()

    def process(self, element: tuple[int, ...]) -> Iterator[str]:
        part = _job.Part(*element)
        if not self.job.is_finished(part):
            self._write(part)
        yield self.job.results(part)

    def _write(self, part: _job.Part) -> None:
        # All threads of a process share one model.
        predictor = self._shared.acquire(self._load)
        files = ((file, functools.partial(_paths.contents, file, self._limit)) for file in self.job.files(part))
        columns, open_writer = _rows.columns_of(predictor.outputs), _rows.WRITERS[self.job.file_format]
        counts = {Row: 0, DeadLetter: 0}
        with self.job.written(part) as paths:
            results = open_writer(paths[_job.RESULTS], columns)
            dead_letters = open_writer(paths[_job.DEAD_LETTERS], _rows.DEAD_LETTERS)
            with results as write_row, dead_letters as write_dead_letter:
                for result in predictor(files):
                    counts[type(result)] += 1
                    if isinstance(result, Row):
                        write_row(_rows.cells_of(result))
                    else:
                        write_dead_letter(_rows.letter_of(result))
        _count("images", counts[Row])
        _count("dead_letters", counts[DeadLetter])
        _paths.log.info("Part %d of %d: %d images, %d dead letters", part.number + 1, part.total, *counts.values())

    def _load(self) -> Predictor:
        _count("models_loaded", 1)
        return Predictor(*self.arguments)


def _count(name: str, number: int) -> None:
    Metrics.counter("tfpyramid", name).inc(number)


def _checksum(path: str) -> int:
    """Return a checksum of a model: of its graph, and of the index of its weights, which holds their checksums."""
    names = ("saved_model.pb", "variables/variables.index")
    parts = (tf.io.gfile.GFile(f"{path}/{name}", "rb").read() for name in names if tf.io.gfile.exists(f"{path}/{name}"))
    return functools.reduce(lambda sum, part: zlib.crc32(part, sum), parts, 0)
