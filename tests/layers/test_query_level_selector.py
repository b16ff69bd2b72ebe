"""`QueryLevelSelector` in training and at inference: objectives, costs, and bad arguments."""

import numpy as np
import pytest

from tests import references
from tests.layers.selectors import QUERY, selector
from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras


def test_the_gumbel_objective_draws_in_training_only():
    layer = selector("gumbel", seed=1)
    np.testing.assert_array_equal(layer(QUERY), layer(QUERY))
    assert np.abs(layer(QUERY, training=True) - layer(QUERY, training=True)).max() > 0.1


def mean_cost(weights, costs):
    return float(np.mean(np.asarray(weights) @ costs))


@pytest.mark.parametrize("objective", ["softmax", "gumbel"])
def test_the_expected_cost_is_a_loss_in_training_and_the_metric(objective):
    layer = selector(objective, cost_weight=0.3, seed=1)
    layer(QUERY)
    assert not layer.losses and np.isnan(layer.metrics[0].result())
    weights = layer(QUERY, training=True)
    cost = mean_cost(weights, [1, 1 / 4, 1 / 16])
    np.testing.assert_allclose(layer.losses[0], 0.3 * cost, rtol=1e-6)
    assert layer.metrics[0].name == f"{layer.name}_cost"
    np.testing.assert_allclose(layer.metrics[0].result(), cost, rtol=1e-6)


def test_costs_given_are_those_that_count():
    layer = selector("softmax", cost_weight=1.0, costs=[0.0, 3.0, -1.0])
    weights = layer(QUERY, training=True)
    np.testing.assert_allclose(layer.losses[0], mean_cost(weights, [0, 3, -1]), rtol=1e-5)


def test_values_are_weighed_against_costs_by_a_weight_that_is_set_after_training():
    layer = selector("value")
    right = references.sigmoid(layer.level_logits(QUERY).numpy().astype(np.float64))
    chosen = {}
    for weight in (0.0, 0.2, 5.0):
        layer.cost_weight.assign(weight)
        chosen[weight] = np.argmax(layer(QUERY), axis=1)
        np.testing.assert_array_equal(chosen[weight], np.argmax(right - weight * 4.0 ** -np.arange(3), axis=1))
        np.testing.assert_array_equal(np.argmax(layer.choose(layer.level_logits(QUERY)), axis=1), chosen[weight])
    assert np.all(chosen[5.0] == 2) and len(set(chosen[0.0])) > 1
    layer(QUERY, training=True)
    assert not layer.losses, "values are trained apart, and their cost is in the choice"


@pytest.mark.slow
def test_a_softmax_learns_the_level_that_each_query_needs():
    rng = np.random.default_rng(3)
    query = rng.standard_normal([256, 2]).astype(np.float32)
    needed = np.eye(2, dtype=np.float32)[(query[:, 0] > 0).astype(int)]
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.QueryLevelSelector(2, 8)(inputs))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(query, needed, epochs=10, batch_size=32, verbose=0)
    assert np.mean(np.argmax(model.predict(query, verbose=0), axis=1) == needed.argmax(axis=1)) > 0.97


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1, the levels to choose from"),
        ({"units": 2.5}, "`units` must be an integer of at least 1"),
        ({"objective": "argmax"}, "`objective` must be one of 'softmax', 'gumbel', 'value'"),
        ({"cost_weight": -0.1}, "`cost_weight` must be a finite number of at least 0, the score that a level loses"),
        ({"costs": [1.0, 0.5]}, r"`costs` must be 3 finite numbers.* Received: costs=\[1.0, 0.5\]"),
        ({"costs": [1.0, float("nan"), 0.0]}, "`costs` must be 3 finite numbers"),
        ({"hard": 1}, "`hard` must be True or False"),
        ({"seed": "one"}, "`seed` must be an integer of at least 0"),
    ],
)
def test_arguments_of_the_query_selector_are_checked_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.QueryLevelSelector(**{"num_levels": 3, **arguments})


@pytest.mark.parametrize(
    "inputs, message",
    [
        (
            np.zeros([2, 3, 4], np.float32),
            r"`query` must have the shape \[batch, size\] .* Received: query of shape \(2, 3, 4\)",
        ),
        (
            [np.zeros([2, 4], np.float32), np.zeros([2, 4, 4, 1], np.float32)],
            r"`summaries\[0\]` must have the shape \[batch, size",
        ),
    ],
)
def test_a_query_of_the_wrong_rank_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        layers.QueryLevelSelector(3)(inputs)


def test_the_history_shows_the_cost_of_training_in_keras_2_and_3():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.QueryLevelSelector(3, 5, cost_weight=0.1, name="level")(inputs))
    model.compile("sgd", "mse", **({"jit_compile": False} if KERAS_3 else {}))
    target = np.eye(3, dtype=np.float32)[np.arange(32) % 3]
    history = model.fit(QUERY.numpy(), target, validation_data=(QUERY.numpy(), target), verbose=0).history
    assert 1 / 16 <= history["level_cost"][0] <= 1
    assert np.isnan(history["val_level_cost"][0])
