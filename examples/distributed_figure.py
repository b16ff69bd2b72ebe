"""The figure of distributed.py: when each worker ran, and the losses of two workers and of a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE, GRID, RED = "#1f2430", "#6b7280", "#e5e7eb", "#c2410c"
COLORS = ("#60a5fa", "#2563eb", "#15803d")  # For the three runs.


def draw(
    runs: Sequence[Mapping[str, Any]], losses: Mapping[str, Sequence[float]], epochs: int, difference: float
) -> Figure:
    """Return the figure.

    Args:
        runs: the fields of each `Run`, in order.
        losses: the losses of the last epochs of the resumed run and of the single worker, by the name of the run.
        epochs: the number of epochs.
        difference: the largest difference between the weights of the two.
    """
    figure = Figure(figsize=(12, 4.8), dpi=100, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle("Training survives the loss of a worker", fontsize=17, weight="bold", color=INK)
    timeline, curve = figure.subplots(1, 2, width_ratios=[2, 1])
    draw_timeline(timeline, runs)
    draw_losses(curve, losses, epochs)
    curve.set_title(f"weights differ by at most {difference:.0e}", fontsize=11, color=PALE)
    for axes in (timeline, curve):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(color=PALE, labelcolor=PALE)
        axes.set_axisbelow(True)
    return figure


def draw_timeline(axes: Axes, runs: Sequence[Mapping[str, Any]]) -> None:
    """Draw a bar for each worker process, and the checkpoints of each run."""
    names = ["worker 1", "worker 2", "single worker"]
    for run, color, first in zip(runs, COLORS, (0, 0, 2)):
        for row, end in enumerate(run["ends"], first):
            axes.barh(row, end - run["start"], left=run["start"], height=0.5, color=color)
        times = [seconds for seconds, _ in run["checkpoints"]]
        axes.plot(times, [first - 0.34] * len(times), "v", color=INK, markersize=4, label="checkpoint")
        axes.text(run["start"], first - 0.5, run["name"], fontsize=10, color=INK)
        if run["killed"] is not None:
            axes.plot(run["killed"], first + 1, "X", color=RED, markersize=13)
            axes.text(run["killed"], first + 1.45, "killed", color=RED, fontsize=11, ha="center", va="center")
    axes.set_yticks(range(len(names)), names, fontsize=11)
    axes.set_ylim(2.6, -0.8)
    axes.set_xlim(0)
    axes.set_xlabel("seconds", fontsize=11, color=INK)
    axes.set_title("triangles are checkpoints", fontsize=11, color=PALE)


def draw_losses(axes: Axes, losses: Mapping[str, Sequence[float]], epochs: int) -> None:
    """Draw the mean loss of each epoch that a run finished; the resumed run did not finish the first one."""
    for (name, values), color, marker in zip(losses.items(), COLORS[1:], ("o", "x")):
        x = range(epochs - len(values) + 1, epochs + 1)
        axes.plot(x, values, marker, color=color, markersize=11, markeredgewidth=2.4, fillstyle="none", label=name)
    axes.set_xticks(range(1, epochs + 1))
    axes.set_xlim(0.5, epochs + 0.5)
    axes.set_xlabel("epoch", fontsize=11, color=INK)
    axes.set_ylabel("mean loss", fontsize=11, color=INK)
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False, fontsize=10)
