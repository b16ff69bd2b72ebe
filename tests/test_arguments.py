"""Every argument of every public name, given what it may be given by mistake."""

import inspect
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.argument_cases import ROWS, forms_of, odd_values, parameters
from tfpyramid import export, layers, losses, metrics, models, ops, scale, training, visualize
from tfpyramid.scale import beam

PUBLIC = [
    getattr(package, name)
    for package in (ops, layers, losses, metrics, models, training, export, scale, beam, visualize)
    for name in package.__all__
]


# What a layer may call its inputs, and the parts of them.
PARTS = "(images|levels|inputs|logits|query|summaries|weights|first|second|flow|view|fixations|maps|scores|x)"


class Reached(BaseException):
    """All arguments were accepted, and the work would begin."""


# A hundred models or large layers each.
SLOW = (
    *("pyramid_classifier", "pyramid_detector", "pyramid_flow", "pyramid_segmenter", "pyramid_vlm"),
    *("FeaturePyramid", "LearnableStrideConv2D", "PyramidBlock", "SpatialTransformerDownsample2D"),
    *("PredictImages", "discriminative_optimizer"),
)


@pytest.fixture(
    params=[pytest.param(row, marks=pytest.mark.slow if row.function.__name__ in SLOW else ()) for row in ROWS],
    ids=lambda row: row.name,
)
def row(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return request.param


@pytest.fixture
def stopped(row, monkeypatch):
    """Work that takes long does not begin."""
    _stop(row, row.stopped, monkeypatch)


@pytest.fixture
def stopped_for_odd_values(row, monkeypatch):
    _stop(row, row.stopped + row.stopped_for_odd_values, monkeypatch)


def _stop(row, names, monkeypatch):
    def stop(*arguments, **keywords):
        raise Reached

    for name in names:
        holder, *attributes = [sys.modules[row.function.__module__], *name.split(".")]
        for attribute in attributes[:-1]:
            holder = getattr(holder, attribute)
        monkeypatch.setattr(holder, attributes[-1], stop)


def test_every_public_name_is_in_the_table():
    assert [thing.__name__ for thing in PUBLIC if thing not in [row.function for row in ROWS]] == []


def test_every_argument_is_in_the_table(row):
    assert set(row.arguments()) == parameters(row.function) - row.without


def test_arguments_work_or_are_refused_by_name(row, stopped_for_odd_values):
    failures = {}
    for name, right in row.arguments().items():
        for label, value in odd_values(right):
            changed = {name: value}
            failure = _failure(lambda: row.call(**changed), name, (ValueError, TypeError, *row.raises))
            if failure:
                failures[f"{name} <- {label}"] = failure
    assert not failures, _listed(failures)


layers_of_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.inputs is not None], indirect=True, ids=lambda row: row.name
)


@layers_of_rows
def test_inputs_of_layers_may_be_arrays_or_tensors(row):
    layer = row.function(**row.arguments())
    expected = tf.nest.map_structure(lambda y: y.numpy(), layer(row.inputs))
    first, *_ = inspect.signature(layer.call).parameters
    for inputs in (row.inputs, tf.nest.map_structure(tf.constant, row.inputs)):
        for outputs in (layer(inputs), layer(**{first: inputs})):
            tf.nest.map_structure(np.testing.assert_array_equal, outputs, expected)


@layers_of_rows
def test_inputs_of_layers_work_or_are_refused_by_name(row):
    failures = {}
    for label, value in odd_values(row.inputs):
        layer = row.function(**row.arguments())
        failure = _failure(lambda: layer(value), PARTS)
        if failure:
            failures[label] = failure
    assert not failures, _listed(failures)


def _failure(call, names, errors=(ValueError, TypeError)):
    """Return what is wrong with how a value is answered, if anything."""
    try:
        call()
    except Reached:
        return None
    except Exception as error:
        text = str(error)
        if not isinstance(error, errors) or isinstance(error, tf.errors.OpError):
            return f"{type(error).__name__}: {text[:160]!r}"
        if not re.search(rf"`{names}(`|\[|\.)", text) or "Received: " not in text:
            return f"{type(error).__name__} that does not name it: {text[:160]!r}"
    return None


def _listed(failures):
    return "\n".join([f"{len(failures)} failures", *(f"{label}: {failure}" for label, failure in failures.items())])


@pytest.mark.slow
def test_forms_that_mean_the_same_give_the_same(row, stopped):
    expected = _outcome(row)
    for name, right in row.arguments().items():
        for label, value in forms_of(right):
            refused = {"lists": row.no_lists | row.arrays_only}.get(label, row.arrays_only)
            if label in ("lists", "tensor", "variable") and name in refused:
                continue
            try:
                outcome = _outcome(row, **{name: value})
            except Exception as error:
                raise AssertionError(f"{name} as {label} is refused") from error
            _assert_equal(outcome, expected, f"{name} as {label}")


def _outcome(row, **changed):
    try:
        return row.call(**changed)
    except Reached:
        return Reached


def _assert_equal(actual, expected, label):
    actual, expected = (tf.nest.flatten(each, expand_composites=True) for each in (actual, expected))
    assert len(actual) == len(expected), label
    for one, other in zip(actual, expected):
        np.testing.assert_array_equal(one, other, err_msg=label)
