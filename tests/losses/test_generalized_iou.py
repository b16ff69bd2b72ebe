"""The loss of boxes."""

import numpy as np
import pytest

from tests import references
from tfpyramid import losses
from tfpyramid._compat import keras

TRUE = np.float32([[[0, 0, 4, 4], [2, 2, 9, 5]], [[1, 1, 3, 8], [0, 0, 0, 0]]])
PREDICTED = np.float32([[[0, 0, 4, 2], [5, 0, 9, 1]], [[1, 1, 3, 8], [0, 0, 1, 1]]])


def test_it_is_one_minus_the_value_of_each_pair():
    found = losses.GeneralizedIoU(reduction="none")(TRUE, PREDICTED)
    assert found.shape == (2, 2)
    expected = 1 - references.generalized_iou(TRUE, np.where(PREDICTED.any(-1, keepdims=True), PREDICTED, 1))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_weights_select_boxes_and_integers_are_converted():
    loss = losses.GeneralizedIoU(reduction="sum")
    weights = np.float32([[1, 0], [3, 0]])
    found = loss(TRUE.astype(np.int64), PREDICTED, sample_weight=weights)
    np.testing.assert_allclose(found, 1 - 0.5, atol=1e-6)


@pytest.mark.slow
def test_a_model_learns_and_its_file_holds_the_loss(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(0.3), losses.GeneralizedIoU())
    x, y = np.ones([8, 3], np.float32), np.tile(np.float32([1, 2, 5, 7]), (8, 1))
    assert model.fit(x, y, epochs=60, verbose=0).history["loss"][-1] < 0.2
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.loss, losses.GeneralizedIoU)
    np.testing.assert_allclose(again.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-5)


@pytest.mark.parametrize(
    "call, rule",
    [
        (lambda: losses.GeneralizedIoU(name=""), "`name` must be a non-empty string. Received: name=''"),
        (lambda: losses.GeneralizedIoU()(TRUE[..., :3], PREDICTED), "`targets` must have the shape of `predictions`"),
        (lambda: losses.GeneralizedIoU()(TRUE[..., :3], PREDICTED[..., :3]), "must have a last axis of 4"),
    ],
)
def test_bad_arguments_are_errors(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()
