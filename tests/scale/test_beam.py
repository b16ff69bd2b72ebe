"""PredictImages: each file is one row or one dead letter, whatever happens to the pipeline."""

import errno
import os

import apache_beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image

from tests.scale import folder, objects
from tfpyramid import export
from tfpyramid._compat import keras
from tfpyramid.export import Pixels
from tfpyramid.scale import _job, _predictor, _storage
from tfpyramid.scale.beam import PredictImages

COUNT = 40
# The files in `_job` when a job of `some` is finished.
JOB = ["arguments.json", "files.jsonl", *(f"part-0000{k}-of-00003.json" for k in range(3))]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of images, and the pixels of the valid ones."""
    path = tmp_path_factory.mktemp("images") / "some"
    return path, folder.fill(path, COUNT)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return folder.save_model(tmp_path_factory.mktemp("models") / "float")


def run(pattern, model, output, *options, names=None, **kwargs):
    """Run a pipeline, check that it returns `names` in `output`, and return its counters."""
    pipeline = apache_beam.Pipeline(options=PipelineOptions(list(options)))
    pattern = list(map(str, pattern)) if isinstance(pattern, list) else str(pattern)
    paths = pipeline | PredictImages(pattern, model=model, output=output, **kwargs)
    if names:
        assert_that(paths, equal_to([str(output / "results" / name) for name in names]))
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(apache_beam.metrics.MetricsFilter().with_namespace("tfpyramid"))["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


def test_every_file_is_a_row_or_a_dead_letter(images, model, tmp_path, monkeypatch):
    path, good = images
    batches, answer = [], _predictor.Predictor._predict
    monkeypatch.setattr(_predictor.Predictor, "_predict", lambda self, x: batches.append(len(x)) or answer(self, x))
    names = [f"part-0000{k}-of-00003.parquet" for k in range(3)]
    counters = run(path / "*", model, tmp_path / "out", names=names, files_per_part=19, batch_size=3)
    assert counters == {"images": COUNT - 4, "dead_letters": 4, "models_loaded": 1}
    for kind in ("results", "dead_letters"):
        assert sorted(os.listdir(tmp_path / "out" / kind)) == names
    assert sorted(os.listdir(tmp_path / "out")) == ["_SUCCESS", "_job", "dead_letters", "results"]
    folder.check_rows(folder.rows(tmp_path / "out"), good)
    folder.check_dead_letters(folder.rows(tmp_path / "out", "dead_letters"), path)
    assert max(batches) == 3 and sum(batches) == COUNT - 4


def test_tfrecord_files_hold_the_same_rows(images, model, tmp_path):
    path, good = images
    run(path / "*", model, tmp_path / "out", file_format="tfrecord", files_per_part=19)

    folder.check_rows(list(folder.read_rows(tmp_path / "out", "results", "tfrecord")), good)
    letters = list(folder.read_rows(tmp_path / "out", "dead_letters", "tfrecord"))
    folder.check_dead_letters(letters, path)


def test_threads_of_a_worker_share_a_model(images, model, tmp_path):
    threads = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
    counters = run(images[0] / "*", model, tmp_path / "out", *threads, files_per_part=3)
    assert counters["models_loaded"] == 1
    folder.check_rows(folder.rows(tmp_path / "out"), images[1])


@pytest.mark.slow
def test_the_outputs_equal_those_of_the_signature_image_bytes(images, tmp_path, one_interpreter):
    path, good = images
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="mean")(image))
    pixels = Pixels(image_size=(12, 10), value_range=(-1, 1))
    exported = export.export_saved_model(model, tmp_path / "model", image_bytes=True, uint8=True, pixels=pixels)
    answer = export.load_saved_model(exported, signature="image_bytes")
    # Bytes of a smaller image are rounded.
    for signature, atol in {"serving_default": 1e-6, "uint8": 1 / 255}.items():
        run(path / "*", exported, tmp_path / signature, signature=signature, pixels=pixels)
        found = folder.rows(tmp_path / signature)
        assert len(found) == len(good)
        for row in found:
            with open(row["file"], "rb") as file:
                np.testing.assert_allclose(row["mean"], answer(image_bytes=[file.read()])["mean"][0], atol=atol)


def test_finished_parts_are_skipped(some):
    assert run(**some)["images"] == 5
    assert run(**some) == {}


@pytest.mark.slow
def test_files_that_are_added_later_are_skipped_with_a_warning(some, caplog):
    run(**some)
    late = some["pattern"].parent / "late.png"
    late.write_bytes(folder.encoded(folder.GOOD, "PNG"))
    run(**some)
    assert (
        f"1 files match '{some['pattern']}' that did not match when the job in {some['output']} was started"
        in caplog.text
    )
    assert len(folder.rows(some["output"])) == 5


def test_a_missing_part_is_written_again_and_files_of_killed_workers_are_removed(some):
    run(**some)
    (some["output"] / "results" / "part-00001-of-00003.parquet").unlink()
    left = some["output"] / "_job" / "aside-1"
    left.mkdir()
    (left / "lock").write_text(_storage._CONTENTS)
    (left / "results").write_bytes(b"half of a file")
    assert run(**some) == {"images": 2, "dead_letters": 0, "models_loaded": 1}
    assert len({row["file"] for row in folder.rows(some["output"])}) == len(folder.rows(some["output"])) == 5
    assert sorted(os.listdir(some["output"] / "_job")) == JOB


def test_a_file_that_is_missing_or_too_large_is_a_dead_letter(some, monkeypatch):
    images = some["pattern"].parent
    begin = _job.Job.begin
    monkeypatch.setattr(_job.Job, "begin", lambda *args: [begin(*args), (images / "0000.png").unlink()][0])
    (images / "0001.png").write_bytes(b"\0" * 2**21)
    assert run(**some, max_pixels=17 * 9 + 700) == {"images": 2, "dead_letters": 3, "models_loaded": 1}
    letters = {os.path.basename(each["file"]): each["reason"] for each in folder.rows(some["output"], "dead_letters")}
    assert "No such file" in letters["0000.png"]
    assert letters["0001.png"] == "A file must have at most 1,062,224 bytes. Received: a larger file"
    assert letters["0002.png"] == "A file must have at most 853 pixels. Received: 40 x 40 (height x width)"


def test_images_that_wait_for_others_of_their_size_are_bounded_by_max_pixels(some, monkeypatch):
    batches, answer = [], _predictor.Predictor._predict
    monkeypatch.setattr(_predictor.Predictor, "_predict", lambda self, x: batches.append(len(x)) or answer(self, x))
    for number in range(5, 10):
        image = Image.fromarray(folder.pixels(number))
        (some["pattern"].parent / f"{number:04}.png").write_bytes(folder.encoded(image, "PNG"))
    some["files_per_part"] = 10
    run(**some)
    assert batches == [2, 2, 2, 2, 2]
    batches.clear()
    run(**{**some, "output": some["output"].with_name("other")}, max_pixels=1600)
    # The first three images, 24 x 36 + 17 x 9 + 40 x 40, exceed the limit, and so on.
    assert batches == [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert len(folder.rows(some["output"].with_name("other"))) == 10


def test_images_that_the_model_fails_on_are_dead_letters(some, tmp_path):
    def wide(image):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(image[:, 0, 0, 0] > 0.5), ["dark"])]):
            return {"mean": tf.reduce_mean(image, axis=[1, 2])}

    images = some["pattern"].parent
    for number in range(5):
        value = 255 * (number != 2)
        (images / f"000{number}.png").write_bytes(
            folder.encoded(Image.fromarray(np.full((8, 9, 3), value, np.uint8)), "PNG")
        )
    run(**{**some, "model": folder.save(tmp_path / "fails", wide, folder.IMAGES), "files_per_part": 5})
    (letter,) = folder.rows(some["output"], "dead_letters")
    assert letter["file"].endswith("0002.png")
    assert letter["reason"] == "The model failed on an image of 8 x 9 pixels: dark"
    assert len(folder.rows(some["output"])) == 4


def test_an_image_of_a_size_that_the_model_refuses_is_a_dead_letter(some, tmp_path):
    spec = tf.TensorSpec([None, 40, None, 3], name="image")
    model = folder.save(tmp_path / "high", lambda image: {"mean": tf.reduce_mean(image, axis=[1, 2])}, spec)
    run(**{**some, "model": model})
    assert [each["file"][-8:] for each in folder.rows(some["output"])] == ["0002.png"]
    reasons = [each["reason"] for each in folder.rows(some["output"], "dead_letters")]
    assert "A file must be an image of shape (40, None, 3). Received: (17, 9, 3)" in reasons and len(reasons) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"model": "other"},
            r"started with other arguments: .* Received: \{'model': '.*other', 'model_checksum': \d+\}",
        ),
        (
            {"files_per_part": 3},
            r"other arguments: \{'files_per_part': 2\}. Rerun .* Received: \{'files_per_part': 3\}, output='.*out'",
        ),
        ({"pixels": Pixels(value_range=(-1, 1))}, r"Received: \{'pixels': 'Pixels\("),
        ({"pattern": "*.jpg"}, r"Received: \{'file_pattern': "),
    ],
)
def test_an_output_of_a_call_with_other_arguments_is_not_changed(some, change, message, tmp_path):
    run(**some)
    if "model" in change:
        change = {"model": folder.save(tmp_path / "other", lambda image: {"x": image}, folder.IMAGES)}
    with pytest.raises(ValueError, match=message):
        run(**{**some, **change})
    assert len(folder.rows(some["output"])) == 5


def test_an_output_that_holds_other_files_is_not_changed(some):
    (some["output"] / "within").mkdir(parents=True)
    (some["output"] / "within" / "letter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="`output` must be an empty or a new folder, .* 'within/letter.txt'"):
        run(**some)
    assert [path.name for path in some["output"].rglob("*")] == ["within", "letter.txt"]


def test_files_and_results_may_be_in_an_object_store(some, monkeypatch, tmp_path):
    good = folder.fill(tmp_path / "more", 8)
    good = {f"objects://in/{os.path.basename(name)}": image for name, image in good.items()}
    store = {f"objects://in/{path.name}": path.read_bytes() for path in (tmp_path / "more").iterdir()}
    monkeypatch.setattr(objects, "STORE", {name: data for name, data in store.items() if name in good})
    arguments = {**some, "pattern": "objects://in/*", "output": "objects://bucket/out"}
    assert run(**arguments)["images"] == 4
    lost = "objects://bucket/out/results/part-00001-of-00002.parquet"
    del objects.STORE[lost]
    assert run(**arguments) == {"images": 2, "dead_letters": 0, "models_loaded": 1} and run(**arguments) == {}
    for name, data in objects.STORE.items():
        if name.startswith("objects://bucket/out/"):
            path = tmp_path / "read" / name.removeprefix("objects://bucket/out/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    folder.check_rows(folder.rows(tmp_path / "read"), good)
    assert sorted(os.listdir(tmp_path / "read")) == ["_SUCCESS", "_job", "dead_letters", "results"]


@pytest.mark.slow
def test_a_full_disk_is_an_error_that_says_how_to_resume(some, monkeypatch):
    put = _storage.LocalStorage.publish

    def fail(self, file, name):
        if "00001" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        put(self, file, name)

    with monkeypatch.context() as patched:
        patched.setattr(_storage.LocalStorage, "publish", fail)
        where = "at .*results.part-00001-of-00003.parquet"
        with pytest.raises(
            Exception, match=f"No space left on device, {where}. Finished parts are kept in .*same arguments to resume"
        ):
            run(**some)
    assert not (some["output"] / "_SUCCESS").exists()
    run(**some)
    assert len(folder.rows(some["output"])) == 5 and (some["output"] / "_SUCCESS").exists()
