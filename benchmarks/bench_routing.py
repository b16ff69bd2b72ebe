"""What do a router and a cascade cost besides the encoders that they run?

    pip install -e '.[bench]'
    python benchmarks/bench_routing.py [--output FOLDER] [--quick] [--only ROW] [--before CHECKOUT]

The encoders and the pyramid are those of `pyramid_vlm` for images of 64 by 64 pixels and four levels. A `LevelRouter`
and a `LevelCascade` read most samples coarsely: a batch of 8 has 1, 1, 2 and 4 samples at the levels 0 to 3, and one of
1 has a sample at level 3. They are compared with the encoders alone, on samples that were split beforehand, and
with the finest encoder on all samples. Calls are eager, of a graph traced for the batch, and of a SavedModel of any
batch. They are interleaved in one run, with as many threads as cores; each turn repeats a short call, and the result is
the median of the turns. `--before` measures another version of tfpyramid in the same run. `--only cascade` measures all
rows of the cascade. `--quick` runs everything, too small to measure anything.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import common
import routing_works
import small_process
from bench_small import BEFORE, TURN, once, repeat
from tqdm import tqdm

WORKS = {"router": "LevelRouter", "cascade": "LevelCascade"}
MODES = {"eager": "called eagerly", "graph": "in a graph", "loaded": "loaded from a SavedModel"}
ROWS = {
    f"{work}-{mode}-{batch}": {"work": work, "mode": mode, "batch": batch}
    for work in WORKS
    for mode in MODES
    for batch in (1, 2, 8, 100)
}
PEERS = (routing_works.ALONE, routing_works.FINEST)


def main() -> None:
    options = common.parse_options(__doc__, [*WORKS, *ROWS], before=True)
    asked = [key for key in ROWS if not options.only or {key, key.split("-")[0]} & set(options.only)]
    if options.quick and not options.only:
        asked = [key for key in asked if key.endswith("-2")]
    path = options.output / "results/routing.json"
    results = common.read_json(path)["results"] if path.exists() else []
    results = [result for result in results if result["row"] not in asked]
    served = small_process.Served(options.before, measure="serve_routing") if options.before else None
    for key in tqdm(asked, unit="row"):
        for contender, values in measured(ROWS[key], served, options.quick).items():
            quartiles = {name: round(value, 4) for name, value in common.quartiles(values).items()}
            results.append({"row": key, "contender": contender, **quartiles})
    if served:
        served.close()
    results.sort(key=lambda result: list(ROWS).index(result["row"]))
    common.write_json(path, {"environment": common.environment(), "results": results})
    common.prepare(options.output, "routing")
    common.update_table(options.output / "README.md", "routing", markdown(results))


def measured(row: dict[str, Any], served: Any, quick: bool) -> dict[str, list[float]]:
    """Return the milliseconds of a call, for each contender and turn."""
    contenders = (routing_works.OURS, *PEERS)
    repeated: dict[str, Callable[[int], Any]] = {
        name: functools.partial(repeat, routing_works.call(**row, contender=name)) for name in contenders
    }
    if served:
        repeated[BEFORE] = lambda count: served(json.dumps({**row, "count": count}))
    count = 1 if quick else max(1, round(TURN / once(repeated)))
    turns = {name: functools.partial(call, count) for name, call in repeated.items()}
    taken = common.take_turns(turns, 2 if quick else 15, 1 if quick else 3)
    return {name: [milliseconds / count for milliseconds in values] for name, values in taken.items()}


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the table of the results."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for result in results:
        found.setdefault(result["row"], {})[result["contender"]] = result
    others = [*PEERS, *([BEFORE] if any(BEFORE in by for by in found.values()) else [])]
    header = ["", routing_works.OURS, *(cell for name in others for cell in (name, "ratio"))]
    rows = []
    for key, by in found.items():
        row, ours = ROWS[key], by[routing_works.OURS]
        cells = [f"`{WORKS[row['work']]}` {MODES[row['mode']]}, batch of {row['batch']}, ms"]
        cells.append(f"{ours['median']:.3g} ({ours['low']:.3g} to {ours['high']:.3g})")
        for name in others:
            other = by.get(name)
            cells += [f"{other['median']:.3g}", f"{ours['median'] / other['median']:.2f}"] if other else ["", ""]
        rows.append(cells)
    return common.table(header, rows)


if __name__ == "__main__":
    main()
