"""What the benchmarks share."""

import json

import numpy as np
import pytest

from benchmarks import common


def test_environment_names_versions_and_machine():
    found = common.environment("pytest")
    assert found["pytest"] == pytest.__version__
    assert {"python", "tfpyramid", "tensorflow", "keras", "numpy", "processor", "cores", "threads"} <= set(found)
    assert json.loads(json.dumps(found)) == found


def test_a_table_goes_between_its_markers_and_nowhere_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- one -->\nold\n<!-- /one -->\nb\n<!-- two -->\nkept\n<!-- /two -->\n")
    common.update_table(readme, "one", common.table(["x", "y"], [["p", 1], ["q", 2]]))
    expected = "a\n<!-- one -->\n| x | y |\n| --- | ---: |\n| p | 1 |\n| q | 2 |\n<!-- /one -->\nb\n"
    assert readme.read_text() == expected + "<!-- two -->\nkept\n<!-- /two -->\n"


@pytest.mark.parametrize(
    "text", ["", "<!-- one -->\n", "<!-- /one -->\n<!-- one -->\n", 2 * "<!-- one -->\n<!-- /one -->\n"]
)
def test_a_file_without_the_markers_is_refused_and_left_alone(text, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="once, in this order"):
        common.update_table(readme, "one", "new")
    assert readme.read_text() == text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    common.write_json(tmp_path / "results/it.json", {"a": 1})
    with pytest.raises(RuntimeError):
        with common.written_aside(tmp_path / "results/it.json") as aside:
            aside.write_text("{")
            raise RuntimeError
    assert common.read_json(tmp_path / "results/it.json") == {"a": 1}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["it.json"]


def test_each_result_has_a_line(tmp_path):
    data = {"benchmark": "it", "empty": [], "results": [{"x": [1.5, 2]}, {"x": []}]}
    common.write_json(tmp_path / "it.json", data)
    assert common.read_json(tmp_path / "it.json") == data
    assert '    {"x": [1.5, 2]},' in (tmp_path / "it.json").read_text().splitlines()


def test_mean_and_spread_is_that_of_a_sample():
    assert common.mean_and_spread([1, 2, 3]) == "2.00 ± 1.00"
    assert common.mean_and_spread([0.5], digits=1) == "0.5 ± 0.0"


def test_contenders_take_turns_in_changing_order_after_a_warm_up():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    taken = common.take_turns(contenders, 7, warm_up=1)
    rounds = {first + second for first, second in zip(calls[::2], calls[1::2])}
    assert len(calls) == 16 and rounds == {"ab", "ba"}
    assert set(taken) == set("ab") and all(len(values) == 7 and min(values) >= 0 for values in taken.values())


def test_quartiles_are_numpys():
    values = np.random.default_rng(0).random(8)
    found = common.quartiles(list(values))
    np.testing.assert_allclose([found["low"], found["median"], found["high"]], np.quantile(values, [0.25, 0.5, 0.75]))
    assert common.quartiles([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}
