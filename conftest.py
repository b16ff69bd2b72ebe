"""Run the examples in README.md, docs/ and the docstrings as tests: one test for each block or `>>>` statement."""

import contextlib
import os
import random
import unittest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402
from sybil import Document, Example, Sybil  # noqa: E402
from sybil.document import PythonDocStringDocument  # noqa: E402
from sybil.evaluators.skip import Skipper  # noqa: E402
from sybil.example import NotEvaluated  # noqa: E402
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser  # noqa: E402
from sybil.parsers.rest import DocTestParser  # noqa: E402

import tfpyramid  # noqa: E402
from tfpyramid._compat import keras  # noqa: E402


def run_earlier_blocks_first(document: Document) -> tuple[()]:
    """Let a block run alone, or in a worker of its own: the blocks above it define the names that it uses."""
    evaluated: set[int] = set()
    passed_before_their_turn: set[int] = set()

    def evaluate(example: Example) -> None:
        if example.start in passed_before_their_turn:
            return  # A block that starts a job, or saves a model, may not run again after those that use it.
        evaluated.add(example.start)
        examples = list(document.examples())
        for earlier in [each for each in examples if each.start < example.start and each.start not in evaluated]:
            with contextlib.suppress(unittest.SkipTest):
                earlier.evaluate()
                passed_before_their_turn.add(earlier.start)
        if isinstance(example.region.evaluator, Skipper):
            # Sybil asks its skipper first, so this function does not see the block that is skipped.
            evaluated.update([later.start for later in examples if later.start > example.start][:1])
        raise NotEvaluated  # Sybil then evaluates the block itself.

    document.push_evaluator(evaluate)
    return ()


class Docstrings(PythonDocStringDocument):
    """The docstrings of one file. Sybil shows a parser one docstring at a time, so the evaluator is added here."""

    @classmethod
    def parse(cls, *args, **kwargs) -> Document:
        document = super().parse(*args, **kwargs)
        run_earlier_blocks_first(document)
        return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty working directory for the blocks of one page, with the seeds set."""
    folder = tmp_path_factory.mktemp("page")
    keras.backend.clear_session()  # The first layer of a class has no number in its name.
    random.seed(0)
    np.random.seed(0)
    tf.random.set_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield str(folder)


def names_in_docstrings(namespace: dict) -> None:
    namespace.update({"np": np, "tf": tf, "keras": keras, "os": os})
    namespace.update({name: getattr(tfpyramid, name) for name in tfpyramid.__all__})
    namespace.update({name: getattr(tfpyramid.layers, name) for name in tfpyramid.layers.__all__})


pages = Sybil(
    parsers=[run_earlier_blocks_first, PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["folder"],
)
docstrings = Sybil(
    parsers=[DocTestParser()],
    patterns=["tfpyramid/*.py", "tfpyramid/**/*.py"],
    document_types={".py": Docstrings},
    setup=names_in_docstrings,
    fixtures=["folder"],
)
pytest_collect_file = (pages + docstrings).pytest()
