"""The reconstruction benchmark: every step of it at a tiny size, and what its numbers mean."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # As for a script that is run by its path.

import bench_reconstruction as bench  # noqa: E402
import reconstruction_images as images  # noqa: E402
import reconstruction_report as report  # noqa: E402


@pytest.mark.slow
def test_a_quick_run_writes_every_part_and_leaves_the_results_alone(tmp_path):
    kept = [ROOT / "benchmarks/README.md", ROOT / "docs/reconstruction_kernels.png"]
    before = [path.read_bytes() if path.exists() else None for path in kept]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks/bench_reconstruction.py"), "--quick", "--output", "out"]
    command += ["--only", "gaussian,sum,adaptive_hard,text"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0, ended.stderr
    assert [path.read_bytes() if path.exists() else None for path in kept] == before
    assert sorted(os.listdir(tmp_path / "out")) == ["reconstruction.json", "reconstruction_kernels.png"]
    data = json.loads((tmp_path / "out/reconstruction.json").read_text())
    found = [(r["kind"], r["upsampler"], r["method"], r["seed"]) for r in data["results"]]
    methods = ("gaussian", "sum", "adaptive_hard")
    order = itertools.product(("network", "fixed"), (0,), methods)
    assert found == [("text", upsampler, method, seed) for upsampler, seed, method in order]
    assert all(np.isfinite([r["psnr"], r["psnr_of_mean"]]).all() for r in data["results"])
    assert data["quick"] and data["environment"]["threads"] == 1


def test_a_run_goes_on_where_it_stopped_if_it_is_the_same(tmp_path):
    part = tmp_path / "reconstruction.json"
    data = {"settings": {"rate": 1}, "environment": {}, "results": []}
    assert bench.finished(part, data) == {}
    result = {"upsampler": "network", "seed": 0, "kind": "text", "method": "sum", "psnr": 30.0}
    bench.write_json(part, {**data, "results": [result]})
    assert bench.finished(part, data) == {("network", 0, "text", "sum"): result}
    with pytest.raises(SystemExit, match="another settings"):
        bench.finished(part, {**data, "settings": {"rate": 2}})


def test_an_unknown_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_reconstruction.py", "--only", "text,nothing"])
    with pytest.raises(SystemExit):
        bench.parse_options()
    assert "Received: nothing" in capsys.readouterr().err


@pytest.mark.parametrize("phase", [0.0, 0.5])
def test_the_fixed_upsampler_reads_a_parabola_where_its_pixels_are(phase):
    """Cubic convolution reproduces parabolas, so an error of phase shows."""
    samples = 2 * np.arange(12) + phase
    low = np.add.outer(samples**2, 3 * samples)[None, :, :, None]
    cells = cv2_correlate(low[0, :, :, 0], bench.bicubic_up(phase))
    pixels = np.arange(4, 20)
    expected = np.add.outer(pixels.astype(float) ** 2, 3 * pixels)
    np.testing.assert_allclose(cells[4:20, 4:20], expected, atol=1e-9)


def cv2_correlate(low, kernel):
    """Return the cells of `low`, put together, by OpenCV."""
    out = np.zeros([2 * side for side in low.shape])
    for k, (y, x) in enumerate(itertools.product((0, 1), repeat=2)):
        out[y::2, x::2] = cv2.filter2D(low, -1, kernel[:, :, 0, k], borderType=cv2.BORDER_REFLECT)
    return out


@pytest.mark.parametrize("name", bench.METHODS)
def test_a_method_puts_its_samples_where_it_says(name):
    """On a ramp a sample's value is its position; what picks one pixel is within half a pixel of it."""
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32), [1, 24, 24])[..., None]
    method = bench.METHODS[name]
    low = np.asarray(method.make()(ramp))[0, 4:8, 4:8, 0]
    atol = 0.5 if name == "adaptive_hard" else 1e-4
    np.testing.assert_allclose(low, np.broadcast_to(2 * np.arange(4, 8) + method.phase, [4, 4]), atol=atol)


def test_the_bicubic_is_pillows():
    from PIL import Image

    picture = np.random.default_rng(0).random([24, 24]).astype(np.float32)
    expected = np.asarray(Image.fromarray(picture).resize((12, 12), Image.Resampling.BICUBIC))
    found = np.asarray(bench.METHODS["bicubic"].make()(picture[None, :, :, None]))[0, :, :, 0]
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5)


# Keras 2.15, drawing a seed.
@pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")
def test_the_network_starts_alike_for_all_methods_and_adds_nothing():
    starts = []
    for name in ("gaussian", "adaptive"):
        bench.keras.utils.set_random_seed(3)
        codec = bench.Codec(bench.METHODS[name], "network", 4)
        starts.append(codec.network.get_weights())
    for mine, other in zip(*starts):
        np.testing.assert_array_equal(mine, other)
    assert not np.any(codec.network(np.ones([1, 4, 4, 1], np.float32)))


def test_psnr_is_that_of_opencv():
    truth, back = (np.random.default_rng(0).integers(256, size=[2, 8, 8, 1]) / 255).astype(np.float32)
    found = bench.psnr(bench.mean_squares(lambda _: back[None], truth[None]))[0]
    assert found == pytest.approx(cv2.PSNR(truth, back, R=1.0), abs=1e-4)


def test_no_held_out_word_was_trained_on():
    assert not set(images.TRAIN_WORDS) & set(images.HELD_OUT_WORDS)


@pytest.mark.parametrize("kind", images.KINDS)
def test_images_are_grey_in_steps_of_8_bits(kind):
    train, held_out = images.KINDS[kind](7, 8, np.random.default_rng(0))
    assert train.shape == (7, 64, 64, 1) and held_out.shape == (8, 64, 64, 1)
    for part in (train, held_out):
        assert part.dtype == np.float32 and part.min() >= 0 and part.max() <= 1
        np.testing.assert_allclose(part * 255, np.round(part * 255), atol=1e-4)


def made_up(gains):
    """Return results in which each method is `gains[method]` above 30 dB, on every kind, with a spread of 0.1."""
    results = [
        {"kind": kind, "upsampler": "network", "method": method, "seed": seed, "psnr": 30 + gain + 0.1 * (seed - 1)}
        for kind in images.KINDS
        for method, gain in gains.items()
        for seed in range(3)
    ]
    for result in results:
        result["psnr_of_mean"] = result["psnr"] - 1
    return {"titles": {method: method for method in gains}, "results": results}


def test_the_words_follow_the_numbers():
    lost = dict.fromkeys(("free", "sum_wide", "sum_odd", "softmax", "adaptive", "adaptive_sum"), 0.5)
    gains = {"gaussian": 0.0, "box": 0.1, "bicubic": 1.2, **lost, "sum": 1.5, "adaptive_hard": -2.0}
    text = report.markdown(made_up(gains))
    assert "| sum | **31.50 ± 0.10** | **31.50 ± 0.10** | **31.50 ± 0.10** |" in text
    assert "sum on natural images (+1.50 ± 0.00 dB over the Gaussian, +0.30 ± 0.00 over the bicubic)" in text
    assert "over Gaussian, bicubic, it gains −2.00 ± 0.00, −3.20 ± 0.00 on natural" in text
    assert "In the table, the target is reached." in text and "and the target is reached." in text
    only_smooth = "In the table, the target is missed over the Gaussian on smooth images."
    assert only_smooth in report.markdown(made_up({**gains, "sum": 1.35}))
    missed = report.markdown(made_up({**gains, "bicubic": 1.45}))
    assert all(f"over the bicubic on {kind} images" in missed for kind in images.KINDS)
    data = made_up(gains)
    for result in data["results"]:
        result["psnr_of_mean"] = 30.0
    assert "In the table, the target is reached." in report.markdown(data)
    assert "and the target is missed over the Gaussian on natural images" in report.markdown(data)
