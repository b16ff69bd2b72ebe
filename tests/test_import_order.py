"""Imports run one way, as ORDER has it; and only _compat asks which Keras there is."""

import ast
import pathlib

import pytest

import tfpyramid

ROOT = pathlib.Path(tfpyramid.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
# May be imported by what comes after it in the list. What begins with an underscore belongs to everyone.
ORDER = ["ops", "layers", "losses", "metrics", "training", "models", "export", "scale", "visualize"]


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else None


def imported(path):
    """Return the names of the modules a file imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path)
    if room is None:
        return
    assert room in ORDER, f"{room} has no place in the order"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "tfpyramid" and len(parts) > 1 and not parts[1].startswith("_"):
            assert ORDER.index(parts[1]) <= ORDER.index(room), f"{room} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_operations_know_no_keras_and_only_compat_knows_which(path):
    names = imported(path)
    if path.name != "_compat.py":
        assert not [name for name in names if name.split(".")[0] in ("keras", "tf_keras")]
    if room_of(path) == "ops":
        assert not [name for name in names if "_compat" in name]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_imported_wholesale(path):
    assert not [name for name in imported(path) if name.endswith(".*")]
