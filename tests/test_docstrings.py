"""The examples in docstrings run."""

import doctest
import importlib
import os
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

import tfpyramid
from tfpyramid import layers, losses, metrics, models, ops, scale, training, visualize
from tfpyramid._compat import keras

MODULES = [
    module.name for module in pkgutil.walk_packages(tfpyramid.__path__, "tfpyramid.") if "_read_back" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path):
    names = {"np": np, "tf": tf, "keras": keras, "os": os, "folder": str(tmp_path)}
    rooms = (layers, losses, metrics, models, ops, scale, training, visualize)
    names.update({room.__name__.split(".")[-1]: room for room in rooms})
    names.update({layer: getattr(layers, layer) for layer in layers.__all__})
    results = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert results.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert found >= 2 * len(layers.__all__)
