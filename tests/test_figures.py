"""Each figure of the documentation is drawn by a script, shown on a page, and small."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = sorted((DOCS / "images").glob("*.png"))
SCRIPTS = "\n".join(path.read_text() for path in (DOCS / "figures").glob("*.py"))
PAGES = "\n".join(path.read_text() for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_figure_is_drawn_shown_and_small(path):
    assert f'"{path.stem}"' in SCRIPTS, "No script in docs/figures draws it."
    assert f"](images/{path.name})" in PAGES, "No page shows it."
    assert path.stat().st_size < 200_000


def test_there_are_figures():
    assert len(FIGURES) > 30
