"""The table, the summary and the kernels to draw of bench_reconstruction.py, computed from its JSON."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from common import mean_and_spread, spread, table

LEARNED = ("free", "sum", "sum_wide", "sum_odd", "softmax", "adaptive", "adaptive_sum", "adaptive_hard")
KERNELS = {"free": "free 6", "sum": "sum 6", "sum_wide": "sum 8", "softmax": "softmax 6"}
AIMS = {"natural": 0.8, "text": 1.2, "smooth": 1.4}


def present(data: dict[str, Any], key: str) -> list[str]:
    return list(dict.fromkeys(result[key] for result in data["results"]))


def values(data: dict[str, Any], kind: str, upsampler: str, method: str, measure: str = "psnr") -> list[float]:
    """Return the results of the seeds, in order."""
    wanted = (kind, upsampler, method)
    return [r[measure] for r in data["results"] if (r["kind"], r["upsampler"], r["method"]) == wanted]


def gains(
    data: dict[str, Any], kind: str, upsampler: str, method: str, over: str, measure: str = "psnr"
) -> list[float]:
    """Return the gain of one method over another, for each seed."""
    pairs = zip(values(data, kind, upsampler, method, measure), values(data, kind, upsampler, over, measure))
    return [mine - other for mine, other in pairs]


def best_learned(data: dict[str, Any], kind: str, upsampler: str) -> str:
    learned = [method for method in LEARNED if method in data["titles"]]
    return max(learned, key=lambda method: statistics.fmean(values(data, kind, upsampler, method)))


def markdown(data: dict[str, Any]) -> str:
    """Return the table, followed by a summary if all methods were measured."""
    columns = [(kind, up) for up in present(data, "upsampler") for kind in present(data, "kind")]
    rows = []
    for method, title in data["titles"].items():
        cells = [mean_and_spread(values(data, *column, method)) for column in columns]
        rows.append([title, *cells])
    for column in range(len(columns)):
        best = max(rows, key=lambda row: float(row[1 + column].split()[0]))
        best[1 + column] = f"**{best[1 + column]}**"
    text = table(["PSNR, dB", *(f"{kind}, {upsampler}" for kind, upsampler in columns)], rows)
    complete = {"gaussian", "bicubic", *LEARNED} <= set(data["titles"])
    return f"{text}\n\n{words(data)}" if complete and "network" in present(data, "upsampler") else text


def words(data: dict[str, Any]) -> str:
    kinds = present(data, "kind")
    best = {kind: best_learned(data, kind, "network") for kind in kinds}
    won, at_once = [], []
    for kind in kinds:
        by_image, by_error = (
            [signed(gains(data, kind, "network", best[kind], other, measure)) for other in ("gaussian", "bicubic")]
            for measure in ("psnr", "psnr_of_mean")
        )
        title = data["titles"][best[kind]]
        won.append(f"{title} on {kind} images ({by_image[0]} dB over the Gaussian, {by_image[1]} over the bicubic)")
        at_once.append(f"{by_error[0]} and {by_error[1]} on {kind}")
    lost = []
    for method, why, others in (
        (
            "softmax",
            "Softmax weights cannot sharpen",
            {"Gaussian": "gaussian", "bicubic": "bicubic", '"sum" with as many taps': "sum"},
        ),
        ("adaptive_hard", "Picking one pixel discards the others", {"Gaussian": "gaussian", "bicubic": "bicubic"}),
    ):
        found = (
            f"{', '.join(signed(gains(data, kind, 'network', method, other)) for other in others.values())} on {kind}"
            for kind in kinds
        )
        lost.append(f"{why}: over {', '.join(others)}, it gains {'; '.join(found)}.")
    aims = ", ".join(f"{AIMS[kind]} ({kind})" for kind in kinds)
    return (
        f"With the network, the best learned layer is {'; '.join(won)}. {' '.join(lost)}\n\n"
        f"The target was set before the measurements: at least {aims} dB over the Gaussian, and more than the spread "
        f"over the bicubic. In the table, the target is {verdict(data, best, 'psnr')}. The PSNR of the mean squared "
        f"error of all images gives more weight to images with more detail. By this measure the same layers gain "
        f"{'; '.join(at_once)}, and the target is {verdict(data, best, 'psnr_of_mean')}."
    )


def verdict(data: dict[str, Any], best: dict[str, str], measure: str) -> str:
    """Return "reached", or the gains of the best layers that are below the target."""
    missed = []
    for kind, method in best.items():
        over_gaussian, over_bicubic = (
            gains(data, kind, "network", method, other, measure) for other in ("gaussian", "bicubic")
        )
        # The largest of the three spreads: of both methods, and of their difference.
        noise = max(
            spread(over_bicubic), *(spread(values(data, kind, "network", m, measure)) for m in (method, "bicubic"))
        )
        if statistics.fmean(over_gaussian) < AIMS[kind]:
            missed.append(f"over the Gaussian on {kind} images")
        if statistics.fmean(over_bicubic) <= noise:
            missed.append(f"over the bicubic on {kind} images")
    return f"missed {', '.join(missed)}" if missed else "reached"


def signed(numbers: list[float]) -> str:
    return f"{statistics.fmean(numbers):+.2f} ± {spread(numbers):.2f}".replace("-", "−")


def kernels(data: dict[str, Any], fixed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the kernels to draw in two rows: a fixed kernel, and the kernels that the first seed learned."""
    upsampler = present(data, "upsampler")[0]
    rows = zip(fixed.items(), (("sum", "softmax"), ("free", "sum_wide")))
    found = {}
    for (name, kernel), learned in rows:
        found[name] = kernel
        for method in learned:
            for kind in present(data, "kind"):
                if method in data["titles"]:
                    found[f"{KERNELS[method]}: {kind}"] = values(data, kind, upsampler, method, "kernel")[0]
    return {name: np.array(kernel) for name, kernel in found.items()}
