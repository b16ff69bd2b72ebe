"""The example on several workers."""

import pytest

from tests.examples import script


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_end_where_one_alone_ends(tmp_path):
    ended = script.run("distributed", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "RuntimeError: A worker was lost in epoch 2 of 3." in ended.stdout
    assert ended.stdout.count("loss of the finished epochs: ") == 3
    assert script.size_of_png(tmp_path / "out/distributed.png") >= (1000, 400)
    assert float(ended.stdout.split()[-1]) < 1e-5
