"""Predictor without Beam: the smaller limit of `PredictImages` and `Pixels` applies."""

import numpy as np
import pytest
import tensorflow as tf

from tests.export.files import file, photograph
from tfpyramid.export import Pixels
from tfpyramid.scale._predictor import DeadLetter, Predictor, Row

PIXELS = 24 * 36


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "1"
    taken = [tf.TensorSpec([None, None, None, 3], name="image")]
    mean = tf.function(lambda image: {"mean": tf.reduce_mean(image, axis=[1, 2])}, input_signature=taken)
    tf.saved_model.save(tf.Module(), str(folder), signatures=mean)
    return str(folder)


@pytest.mark.parametrize(
    "max_pixels, pixels, fits",
    [(PIXELS, None, True), (PIXELS - 1, None, False), (PIXELS, PIXELS - 1, False), (PIXELS - 1, PIXELS, False)],
)
def test_the_smaller_limit_of_pixels_applies(path, max_pixels, pixels, fits):
    photo = photograph()
    predictor = Predictor(path, "serving_default", Pixels(max_pixels=pixels), 2, max_pixels)
    (answer,) = predictor([("photo.png", lambda: file(photo))])
    if fits:
        assert isinstance(answer, Row)
        np.testing.assert_allclose(answer.outputs["mean"], photo.mean((0, 1)) / 255, rtol=1e-5)
    else:
        rule = f"A file must have at most {PIXELS - 1} pixels. Received: 24 x 36 (height x width)"
        assert answer == DeadLetter("photo.png", rule)
