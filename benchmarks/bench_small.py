"""What does an operation cost before it computes: small images, eager calls, graphs, the first `fit`, the import?

    pip install -e '.[bench]'
    python benchmarks/bench_small.py [--output FOLDER] [--quick] [--only ROW] [--before CHECKOUT]

Pyramids of five levels in float32, with the binomial kernel and a mirrored border, are compared with plain TensorFlow:
`tf.pad` and `depthwise_conv2d`, with `conv2d_transpose` in the Laplacian pyramid. Calls are interleaved in one run,
with as many threads as cores; each turn repeats a short call, and the result is the median of the turns. Graphs are
traced for images of any size, each in a new process; so are imports and the first `fit`. Their times are those of the
processor, because other programs hardly affect them. `--before` measures another version of tfpyramid in the same run.
`--only eager` measures all rows with that first word. `--quick` runs everything, too small to measure anything.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import contest
import small_process
import small_works
from contest import OURS, Shape
from tqdm import tqdm

PLAIN, BEFORE = "plain", "before"
TURN = (
    20.0  # Milliseconds that a turn takes at least, so that the clock and the switch between processes do not matter.
)


class Row(NamedTuple):
    """One line of the table: how to measure it, and the target: of the ratio to `against`, or of the value itself."""

    title: str
    measure: str
    arguments: dict[str, Any]
    target: float | None
    against: str | None = PLAIN


def timed(pyramid: str, mode: str, shape: Shape, target: float | None, against: str = PLAIN) -> tuple[str, Row]:
    names = {"gaussian": "Gaussian", "layer": "layer, Gaussian", "inverse": "Laplacian and inverse"}
    modes = {"eager": "called eagerly", "forward": "forward", "gradient": "with gradient"}
    sides = "x".join(map(str, shape))
    key = f"{'laplacian-' if pyramid == 'inverse' else ''}{mode}-{sides}"
    title = f"{names[pyramid]} {modes[mode]}, {contest.sides(shape)}, ms"
    return key, Row(title, "call", {"pyramid": pyramid, "mode": mode, "shape": shape}, target, against)


THUMB, PHOTO, HD = (1, 32, 32, 3), (1, 224, 224, 3), (1, 1080, 1920, 3)
BATCH, SMALL = (32, 224, 224, 3), (32, 64, 64, 3)
MANY, DEEP = (32, 32, 32, 64), (8, 56, 56, 256)
GRAPHS = {"gaussian": ("Gaussian", 500), "laplacian": ("Laplacian", 800), "root": ("Gaussian at √2, 6 levels", 900)}
FORWARD = {THUMB: 1.0, PHOTO: 0.4, BATCH: 0.35, MANY: 0.45, DEEP: 0.45}
GRADIENT = {THUMB: 0.9, PHOTO: 0.4, BATCH: 0.3, MANY: 0.4, DEEP: 0.4}
ROWS: dict[str, Row] = {
    **{
        f"nodes-{key}": Row(f"nodes, {title}", "nodes", {"pyramid": key}, most, None)
        for key, (title, most) in GRAPHS.items()
    },
    **{f"trace-{key}": Row(f"trace, {title}, s", "trace", {"pyramid": key}, 2.0) for key, (title, _) in GRAPHS.items()},
    **dict(timed("layer", "eager", shape, 1.2 if shape == THUMB else 0.8) for shape in (THUMB, PHOTO, SMALL, MANY, HD)),
    **dict(timed("gaussian", "forward", shape, target) for shape, target in FORWARD.items()),
    **dict(timed("gaussian", "gradient", shape, target) for shape, target in GRADIENT.items()),
    **dict(timed("gaussian", mode, HD, 1.0, BEFORE) for mode in ("forward", "gradient")),
    **dict(timed("inverse", mode, SMALL, 0.6) for mode in ("forward", "gradient")),
    "fit": Row("first `fit` of `pyramid_segmenter`, s", "fit", {}, 0.8),
    **{
        f"import-{module}": Row(f"`import {module}`, s", "imported", {"module": module}, 0.1, None)
        for module in ("tfpyramid", "tfpyramid.layers", "tfpyramid.ops")
    },
}
GROUPS = list(dict.fromkeys(key.split("-")[0] for key in ROWS))


def main() -> None:
    options = common.parse_options(__doc__, list(dict.fromkeys([*GROUPS, *ROWS])), before=True)
    asked = [key for key in ROWS if not options.only or {key, key.split("-")[0]} & set(options.only)]
    path = options.output / "results/small.json"
    results = common.read_json(path)["results"] if path.exists() else []
    results = [result for result in results if result["row"] not in asked]
    for key in tqdm(asked, unit="row"):
        row = ROWS[key]
        measure = calls_in_turn if row.measure == "call" else in_new_processes
        taken = measure(row, options.before, options.quick)
        digits = 0 if row.measure == "nodes" else 4
        for contender, values in taken.items():
            quartiles = {name: round(value, digits) for name, value in common.quartiles(values).items()}
            results.append({"row": key, "contender": contender, **quartiles})
    results.sort(key=lambda result: list(ROWS).index(result["row"]))
    common.write_json(path, {"environment": common.environment(), "results": results})
    common.prepare(options.output, "small")
    common.update_table(options.output / "README.md", "small", markdown(results))


def calls_in_turn(row: Row, before: Path | None, quick: bool) -> dict[str, list[float]]:
    """Return the milliseconds of a call, for each contender and turn."""
    arguments = {**row.arguments}
    if quick:
        count, height, width, channels = arguments["shape"]
        arguments["shape"] = (min(count, 2), height % 16 + 36, width % 16 + 36, min(channels, 4))
    repeated = {
        OURS: functools.partial(repeat, small_works.call(**arguments, plain=False)),
        PLAIN: functools.partial(repeat, small_works.call(**arguments, plain=True)),
    }
    served = small_process.Served(before, **arguments) if before else None
    if served:
        repeated[BEFORE] = served
    count = 1 if quick else max(1, round(TURN / once(repeated)))
    turns: Mapping[str, Callable[[], Any]] = {name: functools.partial(call, count) for name, call in repeated.items()}
    taken = common.take_turns(turns, 2 if quick else 15, 1 if quick else 3)
    if served:
        served.close()
    return {name: [milliseconds / count for milliseconds in values] for name, values in taken.items()}


def repeat(call: contest.Call, count: int) -> None:
    for _ in range(count):
        call()


def once(repeated: Mapping[str, Callable[[int], Any]]) -> float:
    """Return the milliseconds of one call of the fastest contender, after two that trace and warm up."""
    fastest = float("inf")
    for call in repeated.values():
        call(2)
        started = time.perf_counter()
        call(1)
        fastest = min(fastest, 1000 * (time.perf_counter() - started))
    return fastest


def in_new_processes(row: Row, before: Path | None, quick: bool) -> dict[str, list[float]]:
    """Return the value of each new process, for each contender; the contenders take turns."""
    found: dict[str, list[float]] = {}
    measure = "trace" if row.measure == "nodes" else row.measure
    options = {"quick": quick} if row.measure == "fit" else {}

    def asker(name: str) -> Callable[[], None]:
        version = before if name == BEFORE else common.FOLDER.parent
        plain = {} if row.measure == "imported" else {"plain": name == PLAIN}

        def measured() -> None:
            answer = small_process.ask(version, measure=measure, **row.arguments, **plain, **options)
            found.setdefault(name, []).append(answer["nodes" if row.measure == "nodes" else "seconds"])

        return measured

    names = [OURS, *([] if row.measure == "imported" else [PLAIN]), *([BEFORE] if before else [])]
    rounds = 1 if quick or row.measure == "nodes" else 3 if row.measure == "fit" else 5
    common.take_turns({name: asker(name) for name in names}, rounds, warm_up=0)
    return {name: found[name] for name in names}


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: medians, quartiles of ours, ratios, and targets; what misses its target is bold."""
    medians = {(result["row"], result["contender"]): result for result in results}
    earlier = any(result["contender"] == BEFORE for result in results)
    lines = []
    for key in dict.fromkeys(result["row"] for result in results):
        ours = medians[key, OURS]
        others = {name: medians.get((key, name)) for name in (PLAIN, BEFORE)}
        ratios = {name: ours["median"] / other["median"] for name, other in others.items() if other}
        line = [ROWS[key].title, f"{number(ours['median'])} ({number(ours['low'])} to {number(ours['high'])})"]
        line += [number(others[PLAIN]["median"]) if others[PLAIN] else "", cell(ROWS[key], PLAIN, ratios)]
        line += [target(ROWS[key], ours["median"], ratios)]
        if earlier:
            line += [number(others[BEFORE]["median"]) if others[BEFORE] else "", cell(ROWS[key], BEFORE, ratios)]
        lines.append(line)
    header = ["", OURS, "plain TensorFlow", "ratio", "target"] + (["before", "ratio to before"] if earlier else [])
    return common.table(header, lines)


def cell(row: Row, against: str, ratios: Mapping[str, float]) -> str:
    return f"{ratios[against]:.2f}" if against in ratios else ""


def target(row: Row, ours: float, ratios: Mapping[str, float]) -> str:
    value = ours if row.against is None else ratios.get(row.against)
    if row.target is None:
        return ""
    of_before = " of before" if row.against == BEFORE else ""
    text = f"{row.target:g}{of_before}"
    return f"**{text}: missed**" if value is not None and value > row.target else text


def number(value: float) -> str:
    """Return a number with three digits, or all those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
