"""What a user traces calls our source as it is written: AutoGraph would take seconds to rewrite it."""

import inspect
import pickle

import pytest
import tensorflow as tf

from tfpyramid import _checks, layers, ops
from tfpyramid.ops import pyramid


def by_operation(images):
    return ops.gaussian_pyramid(images, 2)


def by_layer(images):
    return layers.GaussianPyramid(2)(images)


@pytest.mark.parametrize("function", [by_operation, by_layer])
def test_autograph_rewrites_the_function_of_the_user_alone(function, monkeypatch):
    files, check = [], _checks.images

    def recorded(images):
        files.append({frame.filename for frame in inspect.stack(0)})
        return check(images)

    monkeypatch.setattr(_checks, "images", recorded)
    tf.function(function)(tf.ones([1, 3, 3, 1]))
    assert files and all(pyramid.__file__ in those for those in files)


def test_every_operation_is_left_alone_and_still_found_by_its_name():
    left_alone = tf.autograph.experimental.do_not_convert(lambda: None)
    for name in ops.__all__:
        operation = getattr(ops, name)
        assert operation.__code__ is left_alone.__code__, name
        assert pickle.loads(pickle.dumps(operation)) is operation
        assert "args" not in inspect.signature(operation).parameters
