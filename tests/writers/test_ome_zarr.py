"""write_ome_zarr, killed at random moments, and two calls that write to one path."""

import os
import re
import tempfile

import pytest

from tests.scale import stores
from tests.writers import processes
from tfpyramid.scale import _chunk_log

# Seconds between two flushes of the log: 0, so that partial stores are resumed here, and the default.
EACH, DEFAULT = 0.0, _chunk_log._INTERVAL


def image(seed):
    return stores.picture(seed, 200, 240)


def write(path, seed=0, interval=EACH):
    tempfile.tempdir = str(path.parent.with_name("temporary"))
    _chunk_log._INTERVAL = interval
    stores.write(path, image(seed))


@pytest.fixture
def folder(tmp_path):
    """Return a folder for stores; next to it is the temporary folder of the writers."""
    for name in ("temporary", "target"):
        (tmp_path / name).mkdir()
    yield tmp_path / "target"
    assert os.listdir(tmp_path / "temporary") == []


def test_a_call_killed_at_any_moment_loses_nothing_and_leaves_nothing(folder):
    outcomes = []
    for interval in (EACH, DEFAULT):
        longest = processes.seconds(write, folder / f"{interval}.zarr", 0, interval)
        for number, delay in enumerate(processes.moments(15, longest)):
            path = folder / f"{interval}-{number}.zarr"
            killed = processes.kill_after(delay, write, path, 0, interval)
            log = stores.unfinished(path) / "finished.txt"
            outcomes.append((killed, path.exists(), log.exists() and log.stat().st_size > 0))
            if path.exists():
                stores.check(path, image(0))
                with pytest.raises(FileExistsError, match="`path` must not exist"):
                    stores.write(path, image(0))
            else:
                stores.write(path, image(0))
            stores.check(path, image(0))
            assert [name for name in os.listdir(folder) if not name.endswith(".zarr")] == []
            assert not stores.unfinished(path).exists()
    killed, whole, begun = zip(*outcomes)
    # Otherwise most calls were not killed while they were writing.
    assert sum(killed) >= 10 and sum(begun) >= 3, outcomes


TOLD = "BlockingIOError: .*another process is writing it now|FileExistsError: `path` must not exist. Received: path="


def test_one_of_two_calls_for_a_path_writes_and_the_other_raises_an_error(folder):
    for number in range(20):
        path, seeds = folder / f"{number}.zarr", (number, number + 100)
        answers = processes.race(*((write, path, seed) for seed in seeds))
        assert answers.count(None) == 1, answers
        winner = answers.index(None)
        assert re.match(TOLD, answers[1 - winner])
        stores.check(path, image(seeds[winner]))
        assert sorted(os.listdir(folder)) == sorted(f"{k}.zarr" for k in range(number + 1))


def test_one_of_two_calls_resumes_a_store_and_the_other_raises_an_error(folder):
    delay = 0.6 * processes.seconds(write, folder / "undisturbed.zarr")
    for number in range(5):
        path = folder / f"{number}.zarr"
        processes.kill_after(delay, write, path)
        whole = path.exists()
        answers = processes.race((write, path), (write, path))
        assert answers.count(None) == (0 if whole else 1), answers
        assert all(re.match(TOLD, answer) for answer in answers if answer)
        stores.check(path, image(0))
        assert not stores.unfinished(path).exists()
