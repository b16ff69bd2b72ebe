"""The page docs/serving.md: its table, which `make test-readers` checks, is complete; its commands are valid."""

import inspect
import re
from pathlib import Path

from tfpyramid import layers

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
READERS = ["Python", "C", "saved_model_cli", "TFSMLayer", "gRPC", "REST", "TFLite", "ONNX", "OpenVINO"]


def table():
    """Return the header, and the cells of each row by its name."""
    text = PAGE.read_text().split("<!-- readers -->\n")[1].split("<!-- /readers -->")[0]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return header[1:], {name: cells for name, *cells in rows}


def test_every_layer_has_a_row_and_layers_with_a_hard_mode_have_two():
    _, rows = table()
    expected = set()
    for name in layers.__all__:
        expected.add(f"`{name}`")
        if "hard" in inspect.signature(getattr(layers, name)).parameters:
            expected.add(f"`{name}`, hard")
    assert expected <= set(rows)
    # The other rows are a layer of another package, options, and the last line.
    options = {
        "`LevelCascade`, partition=False",
        "`LevelRouter`, partition=False",
        "`CostVolume`, lookup",
        "`Warp2D`, return_mask",
    }
    options |= {"`WeightedFusion`, adaptive", "`WeightedFusion`, adaptive, hard"}
    assert set(rows) - expected == {"`PyramidDiversity`", *options, "largest error"}


def test_every_reader_has_a_column_and_no_cell_is_empty():
    readers, rows = table()
    assert readers == READERS
    assert all(len(cells) == len(READERS) and all(cells) for cells in rows.values())


def test_commands_name_inputs_and_outputs_of_the_model_of_the_readme():
    text = (PAGE.parents[1] / "README.md").read_text()
    (image,), (mask,) = re.findall(r'keras.Input\(.*name="(\w+)"', text), re.findall(r'Conv2D\(.*name="(\w+)"', text)
    (predict,) = re.findall(r"^predict (.*)", PAGE.read_text(), re.MULTILINE)
    _, signature, name, *_, output, _ = predict.split()
    assert (signature, name, output) == ("serving_default", image, mask)
    (inputs,) = re.findall(r"--inputs (\w+)=", PAGE.read_text())
    assert inputs == image
