"""The signatures of a SavedModel that take image files and bytes, and its warm-up requests."""

import builtins
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.export.files import bad_files, file, photograph, read
from tfpyramid._compat import keras
from tfpyramid.export import Pixels, _signatures, export_saved_model, saved_model
from tfpyramid.export._endpoint import input_specs

PHOTO = photograph()
OTHER = photograph(seed=1)
IMAGES = np.stack([PHOTO, OTHER])
QUESTIONS = np.array([[0, 1], [2, 3]], np.int32)


def asked_model():
    """Return a model with two outputs: the image unchanged, and the embedding of a question."""
    image, question = keras.Input((None, None, 3), name="image"), keras.Input((2,), dtype="int32", name="question")
    seen = keras.layers.Activation("linear", name="seen")(image)
    return keras.Model(
        {"image": image, "question": question},
        {"seen": seen, "answer": keras.layers.Embedding(5, 2, name="answer")(question)},
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model and its export as the first version, with all signatures."""
    model = asked_model()
    folder = tmp_path_factory.mktemp("served") / "asked"
    path = export_saved_model(model, folder, version="next", image_bytes=True, uint8=True, warmup=True)
    return model, path


@pytest.fixture(scope="module")
def served(exported):
    """The loaded model, which holds the signatures and their variables."""
    return tf.saved_model.load(str(exported[1]))


@pytest.mark.slow
def test_each_signature_names_its_inputs(served):
    taken = {
        name: {key: (spec.dtype, spec.shape.as_list()) for key, spec in f.structured_input_signature[1].items()}
        for name, f in served.signatures.items()
    }
    question = {"question": (tf.int32, [None, 2])}
    assert taken["serving_default"] == {"image": (tf.float32, [None, None, None, 3]), **question}
    assert taken["image_bytes"] == {"image_bytes": (tf.string, [None]), **question}
    assert taken["uint8"] == {"image": (tf.uint8, [None, None, None, 3]), **question}


def test_files_and_bytes_give_the_outputs_of_the_model_for_their_pixels(exported, served):
    expected = exported[0]({"image": IMAGES / np.float32(255), "question": QUESTIONS})
    files = tf.constant([file(PHOTO), file(OTHER)])
    question = tf.constant(QUESTIONS)
    for answers in (
        served.signatures["image_bytes"](image_bytes=files, question=question),
        served.signatures["uint8"](image=tf.constant(IMAGES), question=question),
    ):
        assert set(answers) == {"seen", "answer"}
        for name, answer in answers.items():
            np.testing.assert_allclose(answer, expected[name], atol=1e-6)


def test_a_jpeg_is_processed(served):
    data = file(PHOTO, "JPEG", quality=95)
    answer = served.signatures["image_bytes"](image_bytes=tf.constant([data]), question=tf.constant(QUESTIONS[:1]))
    np.testing.assert_allclose(answer["seen"][0] * 255, read(data), atol=12)


@pytest.mark.parametrize("kind", bad_files())
def test_a_client_is_told_which_file_is_wrong(served, kind):
    data, told = bad_files()[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        served.signatures["image_bytes"](image_bytes=tf.constant([file(PHOTO), data]), question=tf.constant(QUESTIONS))


def test_a_session_like_that_of_tensorflow_serving_processes_files_and_names_a_wrong_one(exported):
    one_thread = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    with tf.compat.v1.Session(graph=tf.Graph(), config=one_thread) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(exported[1])).signature_def["image_bytes"]
        files, question = (signature.inputs[name].name for name in ("image_bytes", "question"))
        seen = signature.outputs["seen"].name
        good, other = file(PHOTO), file(OTHER)
        answer = session.run(seen, {files: [good, other], question: QUESTIONS})
        np.testing.assert_allclose(answer, IMAGES / np.float32(255), atol=1e-6)
        for data, told in bad_files().values():
            with pytest.raises(tf.errors.InvalidArgumentError, match=told):
                session.run(seen, {files: [good, data], question: QUESTIONS})


@pytest.mark.slow
def test_the_limit_of_pixels_is_in_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "difference", lambda *args: None)
    model, most = identity((None, None, 3)), PHOTO.shape[0] * PHOTO.shape[1]
    for size, told in ((None, "together"), ((8, 8), "each")):
        pixels = Pixels(max_pixels=most, image_size=size)
        path = export_saved_model(
            model, tmp_path / told, image_bytes=True, pixels=pixels, sample=np.zeros([1, 8, 8, 3], np.float32)
        )
        ask = tf.saved_model.load(str(path)).signatures["image_bytes"]
        assert ask(image_bytes=tf.constant([file(PHOTO)]))
        large = tf.constant([file(photograph((25, 36)))])
        told = f"at most {most} pixels {told}. .* 25 x 36 .* index 0"
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            ask(image_bytes=large)


def test_every_warmup_request_succeeds(served, exported):
    path = exported[1] / "assets.extra" / "tf_serving_warmup_requests"
    answered = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        answers = served.signatures[request.model_spec.signature_name](**inputs)
        answered.append(request.model_spec.signature_name)
        assert answers["seen"].shape == (2, 65, 79, 3)
    assert answered == ["serving_default", "image_bytes", "uint8"]


def test_a_given_warmup_batch_is_the_request(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "difference", lambda *args: None)
    index = keras.Input((3,), dtype="int32", name="index")
    model = keras.Model(index, keras.layers.Embedding(5, 2, name="rows")(index))
    batch = np.array([[4, 0, 2]], np.int32)
    with pytest.raises(
        ValueError, match="`warmup` must be a batch that the model can process. .* which raised: indices"
    ):
        export_saved_model(model, tmp_path / "1", warmup=batch + 5)
    with pytest.raises(ValueError, match=r"`warmup` must hold one batch for each of \['index'\]. Received: 2 values"):
        export_saved_model(model, tmp_path / "1", warmup=[batch, batch])
    path = export_saved_model(model, tmp_path / "1", warmup=batch)
    (record,) = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["index"]), batch)


def test_without_the_protos_the_command_that_installs_them_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("tensorflow_serving"):
            raise ImportError("No module named 'tensorflow_serving'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ImportError,
        match=r"pip install 'tfpyramid\[serving\]'. Received: ImportError: No module named 'tensorflow_serving'",
    ):
        export_saved_model(asked_model(), tmp_path / "1", warmup=True)
    assert list(tmp_path.iterdir()) == []


def signature(model, name, pixels=Pixels()):
    """Return the inputs of the model that a signature decodes, without an export."""
    options = {"image_bytes": False, "uint8": False, name: True}
    return _signatures.signatures(input_specs(model), pixels, **options)[name]


def identity(*shapes, names=("left", "right"), dtype="float32"):
    inputs = [keras.Input(shape, dtype=dtype, name=name) for shape, name in zip(shapes, names)]
    return keras.Model(inputs, [keras.layers.Activation("linear")(x) for x in inputs])


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (0, 255), (-2.5, 2)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bytes_are_mapped_to_the_value_range(value_range, dtype):
    form = signature(identity((None, None, 3), dtype=dtype), "uint8", Pixels(value_range=value_range))
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    values = form.decode({"left": tf.constant(every)})["left"]
    expected = value_range[0] + every / 255 * (value_range[1] - value_range[0])
    assert values.dtype == dtype
    np.testing.assert_allclose(values, expected, rtol=np.finfo(dtype).eps, atol=3 * np.finfo(dtype).eps)
    if value_range == (0, 255):
        np.testing.assert_array_equal(values, every)
    np.testing.assert_array_equal(form.encode({"left": values})["left"], every)


def test_files_are_resized_to_the_known_sides_of_the_model_or_to_image_size():
    files = {"image_bytes": tf.constant([file(PHOTO), file(PHOTO[:20])])}
    assert signature(identity((12, 18, 3)), "image_bytes").decode(files)["left"].shape == (2, 12, 18, 3)
    free = signature(identity((None, None, 1)), "image_bytes", Pixels(image_size=(6, 9)))
    assert free.decode(files)["left"].shape == (2, 6, 9, 1)


def test_uint8_applies_to_every_image_or_to_the_one_that_pixels_names():
    model = identity((None, None, 3), (None, None, 1))
    assert [spec.dtype for spec in signature(model, "uint8").specs.values()] == [tf.uint8, tf.uint8]
    named = signature(model, "uint8", Pixels(input="right"))
    assert [spec.dtype for spec in named.specs.values()] == [tf.float32, tf.uint8]


def test_image_bytes_replaces_one_of_several_images_and_keeps_the_order_of_inputs():
    model = identity((None, None, 3), (None, None, 1))
    form = signature(model, "image_bytes", Pixels(input="left"))
    right = tf.ones([1, 2, 2, 1])
    decoded = form.decode({"right": right, "image_bytes": tf.constant([file(PHOTO)])})
    assert list(form.specs) == ["image_bytes", "right"] and list(decoded) == ["left", "right"]
    np.testing.assert_allclose(decoded["left"][0] * 255, PHOTO, atol=1e-4)
    assert decoded["right"] is right


@pytest.mark.parametrize(
    "model, pixels, told",
    [
        (identity((3,)), Pixels(), "`image_bytes` and `uint8` require a model with .*'left': 'float32"),
        (identity((8, 8, 3), dtype="int32"), Pixels(), "require a model with an input of images: .*int32"),
        (identity((), dtype="string"), Pixels(), "require a model with an input of images: .*string"),
        (identity((8, 8, 2)), Pixels(), "with 1, 3 or 4 channels. Received: a model with the inputs"),
        (
            identity((8, 8, 3), (8, 8, 3)),
            Pixels(),
            r"`pixels` must name the input .*Pixels\(input='left'\), or another",
        ),
        (identity((8, 8, 3)), Pixels(input="rigth"), r"one of \['left'\]. Received: input='rigth'"),
        (identity((8, 8, 3), (3,)), Pixels(input="right"), r"one of \['left'\]. Received: input='right'"),
        (
            identity((8, 8, 3), (3,), names=("left", "image_bytes")),
            Pixels(),
            "must not have an input named 'image_bytes'",
        ),
        (
            identity((8, None, 3)),
            Pixels(image_size=(9, 9)),
            r"match the input 'left', \(8, None\). Received: image_size=\(9, 9\)",
        ),
        (identity((8, 8, 3)), (0, 1), r"`pixels` must be a tfpyramid.export.Pixels. Received: pixels=\(0, 1\)"),
    ],
)
def test_a_signature_that_cannot_serve_is_refused(model, pixels, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        export_saved_model(model, tmp_path / "1", image_bytes=True, pixels=pixels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, told",
    [
        ({"input": 3}, "`input` must be the name .* Received: input=3"),
        ({"image_size": (0, 3)}, "`image_size` must be an integer of at least 1.* Received: image_size=0"),
        ({"image_size": "big"}, "`image_size` must be .* Received: image_size='big'"),
        ({"value_range": (1, 0)}, r"`value_range` must be two finite numbers.* Received: value_range=\(1, 0\)"),
        ({"value_range": (0, np.inf)}, "`value_range` must be two finite numbers"),
        ({"value_range": 255}, "`value_range` must be two finite numbers.* Received: value_range=255"),
    ],
)
def test_wrong_arguments_of_pixels_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        Pixels(**options)


def test_pixels_without_a_signature_that_takes_bytes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`pixels` requires `image_bytes=True` or .* Received: pixels=Pixels"):
        export_saved_model(asked_model(), tmp_path / "1", pixels=Pixels(value_range=(-1, 1)))


def test_options_must_be_true_or_false(tmp_path):
    for name in ("image_bytes", "uint8"):
        with pytest.raises(ValueError, match=f"`{name}` must be True or False. Received: {name}='image'"):
            export_saved_model(asked_model(), tmp_path / "1", **{name: "image"})


@pytest.mark.slow
def test_a_signature_that_decodes_other_pixels_is_reported(tmp_path, monkeypatch):
    # Simulate a loaded decoder that reads other pixels.
    decode = _signatures.decode_images

    def wrong(*args):
        return decode(*args) if tf.executing_eagerly() else decode(*args) // 2

    monkeypatch.setattr(_signatures, "decode_images", wrong)
    told = "the signature 'image_bytes' does not survive the export: its output 'seen' differs"
    with pytest.raises(ValueError, match=re.escape(told)):
        export_saved_model(asked_model(), tmp_path / "1", image_bytes=True)
    assert list(tmp_path.iterdir()) == []
