"""Code that the benchmarks share: the description of the machine, result files, and tables in README.md."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

import tfpyramid

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
RESULTS = FOLDER / "results"


def environment(*packages: str) -> dict[str, Any]:
    """Return the versions of Python, TensorFlow, NumPy and `packages`, and the machine."""
    keras = tf.keras.Model.__module__.split(".")[0]
    return {
        "python": platform.python_version(),
        "tfpyramid": tfpyramid.__version__,
        "tensorflow": tf.__version__,
        "keras": sys.modules[keras].__version__,
        **{name: importlib.metadata.version(name) for name in ("numpy", *packages)},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        **({"gpus": gpus()} if gpus() else {}),
    }


def gpus() -> list[str]:
    """Return the models of the GPUs that TensorFlow finds."""
    devices = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, devices)
    return [detail.get("device_name", device.name) for detail, device in zip(details, devices)]


def processor() -> str:
    """Return the model of the processor, or its architecture if the system does not report it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def parse_options(
    description: str,
    contenders: Sequence[str] = (),
    *,
    data: bool = False,
    before: bool = False,
    output: Path = FOLDER,
) -> argparse.Namespace:
    """Return the options of a script: `--only` if it has contenders, `--data` and `--before` if it asks for them.

    `output` is the default of the option `--output`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument(
            "--data", type=Path, help="folder with the four idx .gz files of the data set (default: Keras loads it)"
        )
    if before:
        parser.add_argument("--before", type=Path, help="checkout of another version of tfpyramid to measure too")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"folder for README.md and results/ (default: {output.name}; with --quick, benchmarks_output)",
    )
    parser.add_argument("--quick", action="store_true", help="run everything, too small to measure anything")
    if contenders:
        parser.add_argument("--only", action="append", choices=contenders, metavar="NAME", help="one of: %(choices)s")
    options = parser.parse_args()
    if options.output is None:
        options.output = Path("benchmarks_output") if options.quick else output
    options.output.mkdir(parents=True, exist_ok=True)
    return options


def one_thread() -> None:
    """Make TensorFlow compute on one core; call this before TensorFlow runs anything."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@contextlib.contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` at the end, so that `path` is always complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: str | Path, data: dict[str, Any]) -> None:
    """Write JSON with a line for each key and each dict in a list, so that a diff shows which results changed."""
    lines = (f"  {json.dumps(key)}: {_by_line(value)}" for key, value in data.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    with written_aside(path) as aside:
        aside.write_text(text)


def _by_line(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {json.dumps(element)}" for element in value) + "\n  ]"
    return json.dumps(value)


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text())


def prepare(folder: Path, name: str) -> None:
    """Add markers for a table to the README.md of an output folder; the README.md of this folder must have them."""
    readme = folder / "README.md"
    text = readme.read_text() if readme.exists() else ""
    if folder != FOLDER and f"<!-- {name} -->" not in text:
        readme.write_text(f"{text}<!-- {name} -->\n<!-- /{name} -->\n")


def update_table(readme: str | Path, name: str, markdown: str) -> None:
    """Put `markdown` between the lines `<!-- name -->` and `<!-- /name -->` of a file.

    Raises:
        ValueError: unless the file has each of the two lines once, in this order.
    """
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = Path(readme).read_text()
    if text.count(opening) != 1 or text.count(closing) != 1 or text.index(closing) < text.index(opening):
        raise ValueError(
            f"{Path(readme).name} must contain the lines {opening.strip()} and {closing.strip()} once, in this order."
        )
    before, rest = text.split(opening)
    after = rest.split(closing)[1]
    with written_aside(readme) as aside:
        aside.write_text(f"{before}{opening}{markdown.strip()}\n{closing}{after}")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; all columns except the first are aligned to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def take_turns(contenders: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 3) -> dict[str, list[float]]:
    """Return the milliseconds of each call; each contender runs once per round, so that all share one machine.

    The order is random in each round, because the state of caches and memory affects the next contender.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order = random.Random(0)
    for _ in range(warm_up + repeats):
        for name in order.sample(list(contenders), len(contenders)):
            started = time.perf_counter()
            contenders[name]()
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: values[warm_up:] for name, values in taken.items()}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median of a sample, and its lower and upper quartile."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return {"median": median, "low": low, "high": high}


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, 0 for a sample of one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """Return "mean ± standard deviation"."""
    return f"{statistics.fmean(values):.{digits}f} ± {spread(values):.{digits}f}"
