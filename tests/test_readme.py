"""README.md stays short and complete, and its links lead somewhere. The root conftest runs its code blocks."""

import re
from pathlib import Path

from tfpyramid import layers, models

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def anchors(page):
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_it_has_at_most_120_lines():
    assert len(TEXT.splitlines()) <= 120


def test_its_tables_have_every_layer_and_model_once():
    names = [name for cell in re.findall(r"^\| (`.*?`) \|", TEXT, re.MULTILINE) for name in re.findall(r"\w+", cell)]
    assert sorted(names) == sorted(layers.__all__ + models.__all__)


def test_its_links_are_relative_and_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert len(links) > 10
    for link in links:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        assert not anchor or anchor in anchors(ROOT / path), link
