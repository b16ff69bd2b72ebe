"""TensorBoard on loopback shows the run that a `PyramidMonitor` wrote, in Chromium."""

import contextlib
import re
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from tfpyramid import layers, training
from tfpyramid._compat import keras

TIMEOUT = 60_000  # Milliseconds. TensorBoard takes some seconds to start and to read the run.
SCALARS = ["gradient_norm/pyramid/level_1", "level_usage/selector/level_2", "temperature/selector"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a pyramid for three epochs; return the folder of the run and the history of the training."""
    folder = tmp_path_factory.mktemp("logs")
    image = keras.Input((16, 16, 1))
    levels = layers.LearnablePyramid(3, name="pyramid")(image)
    summary = keras.layers.GlobalAveragePooling2D()(layers.UpsampleConcat()(levels))
    weights = layers.GumbelLevelSelector(name="selector")(keras.layers.Dense(3)(summary))
    model = keras.Model(image, weights)
    model.compile("sgd", "mse")
    x, y = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1]), tf.zeros([4, 3])
    monitor = training.PyramidMonitor(folder, sample=(x, y))
    return folder, model.fit(x, y, epochs=3, verbose=0, callbacks=[monitor]).history


@pytest.fixture(scope="module")
def tensorboard(run):
    """The address of a TensorBoard that shows the run."""
    options = ["--logdir", str(run[0]), "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    command = [sys.executable, "-m", "tensorboard.main", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        try:
            written = []
            for line in server.stderr:
                written.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                pytest.fail("TensorBoard did not start:\n" + "".join(written))
            # An unread pipe would fill up and block the server.
            threading.Thread(target=lambda: [*server.stderr], daemon=True).start()
            yield found[0]
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()


@pytest.fixture
def page(chromium):
    with chromium.new_context(viewport={"width": 1280, "height": 1600}) as context:
        yield context.new_page()


def test_scalars_are_shown_and_equal_the_history(tensorboard, run, page):
    page.goto(f"{tensorboard}/#timeseries")
    for group in ("gradient_norm", "level_usage", "temperature"):
        page.get_by_text(group, exact=True).first.wait_for(timeout=TIMEOUT)
    page.get_by_text("gradient_norm/pyramid/level_1").first.wait_for(timeout=TIMEOUT)
    history = run[1]
    for tag in SCALARS:
        answer = page.request.get(f"{tensorboard}/data/plugin/scalars/scalars", params={"run": ".", "tag": tag})
        assert answer.ok, tag
        points = answer.json()
        assert [step for _, step, _ in points] == [0, 1, 2]
        assert [value for *_, value in points] == pytest.approx(history[tag]), tag


def test_kernels_are_shown_as_pictures(tensorboard, page):
    page.goto(f"{tensorboard}/#images")
    page.get_by_text(re.compile("kernel")).first.wait_for(timeout=TIMEOUT)
    picture = page.locator("img").first
    picture.wait_for(timeout=TIMEOUT)
    assert picture.evaluate("image => image.naturalWidth") == 5  # The taps of the default kernel.
