"""The tables of the documentation show the numbers of benchmarks/README.md, which the benchmarks write."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


def numbers(path):
    """Return the numbers of each row of each marked table."""
    tables = {}
    for name, text in MARKED.findall(path.read_text()):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        tables[name] = [re.findall(r"\d[\d.]*", line) for line in rows]
    return tables


SHOWN = numbers(ROOT / "docs/results.md") | numbers(ROOT / "docs/backbones.md")


def test_the_pages_show_every_table_of_the_benchmarks():
    assert set(SHOWN) == set(numbers(ROOT / "benchmarks/README.md"))


@pytest.mark.parametrize("name", SHOWN)
def test_a_table_has_the_numbers_that_the_benchmark_wrote(name):
    assert SHOWN[name] == numbers(ROOT / "benchmarks/README.md")[name]
    assert any(SHOWN[name])
