"""Fixtures of the whole suite."""

import argparse
import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# XLA compiles each function for one call, so LLVM's optimisations cost more than they save. XLA's own passes still run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402
from hypothesis import settings  # noqa: E402

# tensorflow-addons lives on this TensorFlow alone; there it must be installed, since that is what the leg is for.
collect_ignore = [] if tf.version.VERSION.startswith("2.15.") else ["test_addons.py"]
# These need converters and servers, which `make test-readers` installs and asks for.
collect_ignore += [] if "TFPYRAMID_READERS" in os.environ else ["readers"]
# These open the built site in Chromium and run notebooks; `make test-docs` asks for them.
collect_ignore += [] if "TFPYRAMID_BROWSER" in os.environ else ["browser"]
# These kill and race processes for minutes; `make test-writers` asks for them.
collect_ignore += [] if "TFPYRAMID_WRITERS" in os.environ else ["writers"]
# These build the archives of a release and install them; `make test-dist` asks for them.
collect_ignore += [] if "TFPYRAMID_DIST" in os.environ else ["distribution"]

# pytest-xdist runs one process per processor.
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
# Most graphs here run once, and cost more to optimise than that; the processes that read saved models do optimise.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# Traces take longer than Hypothesis allows by default. The same examples at each run of the suite; others every night.
settings.register_profile("default", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile("nightly", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile("default")


VERDICT = pytest.StashKey[str]()


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", type=part, metavar="K/N", help="run only part K of N of the tests")


def part(text):
    """Return (K, N) of "K/N"."""
    k, n = map(int, text.split("/"))
    if not 1 <= k <= n:
        raise argparse.ArgumentTypeError(f"K must be from 1 to N in K/N. Received: {text}")
    return k, n


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.nodeid.startswith("tfpyramid/") and trains(item.example.document.text):
            item.add_marker("slow")
    # The name alone decides, so that the processes of pytest-xdist agree and a new test moves no other.
    k, n = config.option.part
    chosen = [item for item in items if zlib.crc32(item.nodeid.encode()) % n == k - 1]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
    # Coverage traces every line of TensorFlow's Python, too. The fast tests alone must reach the bound.
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")


def trains(text):
    """Return whether the examples of a file build or train whole models, which takes seconds."""
    return ".fit(" in text or ">>> model = models." in text


def pytest_sessionfinish(session, exitstatus):
    if session.config.option.collectonly:
        return
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        verdict = "INTERRUPTED: only a part of the tests was run."
    elif exitstatus != pytest.ExitCode.OK:
        verdict = "FAILED. To run the failed tests again: pytest --last-failed"
    elif session.config.option.markexpr == "not slow":
        verdict = "PASSED. To run the slow tests, too: make test-all"
    else:
        verdict = "PASSED"
    session.config.stash[VERDICT] = verdict


@pytest.hookimpl(trylast=True)  # After the summary of pytest.
def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and VERDICT in config.stash:
        reporter.write_line(config.stash[VERDICT])


@pytest.fixture(autouse=True)
def _reproducible():
    random.seed(0)
    np.random.seed(0)
    tf.random.set_seed(0)


@pytest.fixture
def optimised_graphs():
    """TensorFlow rewrites graphs, as it does for users; the options above turn that off for speed."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


class Reader:
    """A process that answers for models on disk; see reader.py."""

    def __init__(self, kind: str, folder: Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("reader.py")), kind]
        root = str(Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        self._log = open(folder / f"{kind}.log", "w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )
        self._folder = folder

    def read(self, model: Path, batches: list[tuple[list, list]]) -> list[tuple[list, list]]:
        """Return (outputs, gradients) of each batch of (inputs, upstream)."""
        arrays = {
            f"{n}/{kind}/{k}": array
            for n, batch in enumerate(batches)
            for kind, values in zip(("input", "upstream"), batch)
            for k, array in enumerate(values)
        }
        np.savez(self._folder / "arrays.npz", **arrays)
        error = self.ask(model, self._folder / "arrays.npz", self._folder / "answers.npz")
        assert error is None, f"The model does not answer in a fresh process: {error}"
        answers = dict(np.load(self._folder / "answers.npz", allow_pickle=False))

        def numbered(prefix: str) -> list:
            return [answers[f"{prefix}/{k}"] for k in range(sum(name.startswith(prefix + "/") for name in answers))]

        return [(numbered(f"{n}/output"), numbered(f"{n}/gradient")) for n in range(len(batches))]

    def ask(self, model: Path | str, arrays: Path | str, answers: Path | str) -> str | None:
        """Let the process read two of the files and write the third; return what went wrong."""
        request = {"model": str(model), "arrays": str(arrays), "answers": str(answers)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"The reader ended: {self._log.read()[-2000:]}")
        return json.loads(line)["error"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=300)
        self._log.close()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def readers(tmp_path_factory):
    """The readers by kind, started when the first test asks."""
    started = {}

    class Readers:
        def __getitem__(self, kind: str) -> Reader:
            if kind not in started:
                started[kind] = Reader(kind, tmp_path_factory.mktemp(kind))
            return started[kind]

    yield Readers()
    for reader in started.values():
        reader.close()


@pytest.fixture
def one_interpreter(readers, monkeypatch):
    """Exports are read back by one interpreter, in which there is no package either, not by a fresh one each."""

    def run(*paths: str) -> subprocess.CompletedProcess:
        error = readers["read_back"].ask(*paths)
        return subprocess.CompletedProcess(paths, 0 if error is None else 1, stderr=error)

    monkeypatch.setattr("tfpyramid.export._verify._in_a_fresh_interpreter", run)
