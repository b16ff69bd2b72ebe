"""The results of every reader for every row, and their table in docs/serving.md.

python -m tests.readers.table
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.readers import rows, runtimes

DOCS = runtimes.ROOT / "docs" / "serving.md"
TOLERANCE = 1e-5  # Relative to the largest magnitude of an output if that is above 1.

Errors = dict[str, float]


def whole(folder: Path) -> tuple[Path, list, np.ndarray]:
    """Return the export of a model with all rows, Keras's outputs, and the gradient for the last batch."""
    made = rows.model(*rows.ROWS)
    return rows.write(made, folder / "whole"), rows.keras_answers(made), rows.keras_gradient(made)


def portable(folder: Path, *names: str) -> tuple[Path, list]:
    """Return the portable export of a model of some rows, and Keras's outputs."""
    made = rows.model(*names)
    return rows.write(made, folder / "portable", portable=True), rows.keras_answers(made)


def errors(reader: Callable, saved_model: Path, expected: list, folder: Path) -> Errors:
    """Return the largest error of each row over all sizes; infinite if a shape is wrong."""
    return largest(reader(saved_model, [batch for batch, _ in expected], folder), expected)


def largest(read: list, expected: list) -> Errors:
    """Return the largest error of each row over all batches."""
    found: Errors = {}
    for answers, (_, outputs) in zip(read, expected, strict=True):
        for name, y in outputs.items():
            row = rows.row_of(name)
            found[row] = max(found.get(row, 0.0), error(answers[name], y))
    return found


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return np.inf
    return float(np.max(np.abs(actual - expected), initial=0) / max(1.0, np.max(np.abs(expected), initial=0)))


def markdown(found: dict[str, Errors]) -> str:
    """Return the table: a tick where the outputs equal Keras's, and the largest error of each reader."""
    lines = [["", *found], ["---", *[":---:"] * len(found)]]
    for row in rows.ROWS:
        lines.append([label(row), *("✓" if each[row] <= TOLERANCE else f"{each[row]:.0e}" for each in found.values())])
    lines.append(["largest error", *(f"{max(each.values()):.0e}" for each in found.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def label(row: str) -> str:
    name, _, option = row.partition(", ")
    return f"`{name}`" + (f", {option}" if option else "")


def main() -> None:
    sys.path.insert(0, str(runtimes.ROOT / "benchmarks"))
    import common

    found: dict[str, Errors] = {name: {} for name in (*runtimes.WHOLE, *runtimes.BY_ROW)}
    with tempfile.TemporaryDirectory() as folder:
        saved_model, expected, _ = whole(Path(folder))
        for name, reader in runtimes.WHOLE.items():
            with tempfile.TemporaryDirectory() as empty:
                found[name] = errors(reader, saved_model, expected, Path(empty))
    for row in rows.ROWS:
        with tempfile.TemporaryDirectory() as folder:
            saved_model, expected = portable(Path(folder), row)
            for name, reader in runtimes.BY_ROW.items():
                found[name].update(errors(reader, saved_model, expected, Path(folder)))
    common.update_table(DOCS, "readers", markdown(found))


if __name__ == "__main__":
    main()
