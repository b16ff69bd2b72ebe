"""Unfinished stores with files that were damaged, as by power failures and disks."""

import json
import os
import shutil

import numpy as np
import pytest
import zarr

from tests.scale import stores
from tfpyramid.scale import _store


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Skip syncing: no test here simulates a power failure."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def written_by(monkeypatch):
    """Return a list that collects the name of the level of each tile that is written."""
    written, original = [], _store.Level.__setitem__
    monkeypatch.setattr(
        _store.Level, "__setitem__", lambda level, *tile: written.append(level.name) or original(level, *tile)
    )
    return written


def chunks(folder):
    return sorted(file for file in folder.rglob("*") if file.is_file() and "/c/" in str(file))


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x10
    file.write_bytes(data)


def cut(file, share=0.5):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])


def remove_all(folder):
    for chunk in chunks(folder):
        chunk.unlink()


def swap(folder):
    first, second, *_ = chunks(folder / "store" / "0")
    both = first.read_bytes(), second.read_bytes()
    second.write_bytes(both[0])
    first.write_bytes(both[1])


def append(file, data):
    file.write_bytes(file.read_bytes() + data)


def add_half_files(folder):
    """Add files of a killed process: a temporary file of zarr, and half of an unrecorded chunk."""
    chunk = chunks(folder)[-1]
    chunk.with_suffix(".0123456789abcdef.partial").write_bytes(b"half")
    chunk.with_name("7").write_bytes(chunk.read_bytes()[:9])
    (folder / ".arguments.json.new").write_bytes(b"half")


def rename_in_record(folder):
    """Make the log claim that an unwritten tile is zeros; in fact it is not."""
    record = folder / "finished.txt"
    data = record.read_bytes()
    assert b"store/0/c/0/0 none" in data and b"store/1/c/1/1" not in data
    record.write_bytes(data.replace(b"store/0/c/0/0 none", b"store/1/c/1/1 none"))


DAMAGES = {
    "missing chunk": lambda folder: chunks(folder)[0].unlink(),
    "all chunks missing": remove_all,
    "empty chunk": lambda folder: cut(chunks(folder)[0], 0),
    "half a chunk": lambda folder: cut(chunks(folder)[1]),
    "first byte": lambda folder: flip(chunks(folder)[0], 0),
    "a byte": lambda folder: flip(chunks(folder)[0], 0.5),
    "checksum of a chunk": lambda folder: flip(chunks(folder)[2], 1),
    "chunk of level 1": lambda folder: flip(chunks(folder / "store" / "1")[0], 0.5),
    "two chunks swapped": swap,
    "half files": add_half_files,
    "empty metadata": lambda folder: cut(folder / "store/0/zarr.json", 0),
    "half the metadata": lambda folder: cut(folder / "store/1/zarr.json"),
    "no metadata": lambda folder: (folder / "store/0/zarr.json").unlink(),
    "half the metadata of the store": lambda folder: (folder / "store/zarr.json").write_text('{"zarr'),
    "empty record": lambda folder: cut(folder / "finished.txt", 0),
    "no record": lambda folder: (folder / "finished.txt").unlink(),
    "half a record": lambda folder: cut(folder / "finished.txt"),
    "a byte of the record": lambda folder: flip(folder / "finished.txt", 0.3),
    "another name in the record": rename_in_record,
    "no text in the record": lambda folder: (folder / "finished.txt").write_bytes(b"\xff\xfe\x00\n\n \nx 00000000\n"),
    "a line without its end": lambda folder: append(folder / "finished.txt", b"store/0/c/0"),
    "no store": lambda folder: shutil.rmtree(folder / "store"),
    "no arguments": lambda folder: (folder / "arguments.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_chunks_are_written_again(damage, tmp_path):
    path = tmp_path / "a.zarr"
    DAMAGES[damage](stores.interrupt(path, after=12))
    stores.write(path)
    stores.check(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("laplacian", [False, True])
def test_only_missing_or_damaged_chunks_are_written_again(laplacian, tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    folder = stores.interrupt(path, after=8, laplacian=laplacian)
    recorded = (folder / "finished.txt").read_text().splitlines()
    # Some tiles are zeros, so their chunks have no files.
    # One chunk may have been finished while the one before it failed.
    assert len(recorded) in (7, 8) and any(" none " in line for line in recorded)
    flip(chunks(folder)[0], 0.5)
    written = written_by(monkeypatch)
    stores.write(path, laplacian=laplacian)
    total = 9 + 4 + 1 + (4 if laplacian else 0)
    assert len(written) == total - len(recorded) + 1


@pytest.mark.parametrize("data", [b"", b'{"border": "refl', b"\xff\xfe", b"3", b"[[1]]", b"null"])
def test_arguments_that_cannot_be_read_are_an_error_that_names_what_to_remove(data, tmp_path):
    path = tmp_path / "a.zarr"
    folder = stores.interrupt(path)
    (folder / "arguments.json").write_bytes(data)
    before = stores.everything(tmp_path)
    with pytest.raises(ValueError, match=f"`path` cannot be resumed.*Remove {folder} to start again. Received: path="):
        stores.write(path)
    assert stores.everything(tmp_path) == before
    shutil.rmtree(folder)
    stores.write(path)
    stores.check(path)


@pytest.mark.parametrize("data", [b"", b"tfpyramid: write"])
def test_a_lock_that_cannot_be_read_is_an_error_that_names_what_to_remove(data, tmp_path):
    path = tmp_path / "a.zarr"
    folder = stores.interrupt(path)
    (folder / "lock").write_bytes(data)
    with pytest.raises(FileExistsError, match=f"`path` cannot be written.*{folder}.*Remove it.*Received: path="):
        stores.write(path)


def test_a_chunk_that_is_damaged_while_it_is_used_is_an_error_and_the_next_call_writes_it(tmp_path, monkeypatch):
    path, original = tmp_path / "a.zarr", _store.Level.__setitem__

    def damage(level, places, values):
        original(level, places, values)
        if level.name == "1" and places[1].start:
            flip(level.chunk(range(places[0].start, 1), range(places[1].start, 1)), 0.5)

    with monkeypatch.context() as patch:
        patch.setattr(_store.Level, "__setitem__", damage)
        with pytest.raises(OSError, match="A chunk was damaged after it was written.*rerun with the same arguments"):
            stores.write(path)
    written = written_by(monkeypatch)
    # Here the recorded checksum is that of the damaged file, so remove it from the log.
    log = stores.unfinished(path) / "finished.txt"
    log.write_bytes(b"".join(line for line in log.read_bytes().splitlines(True) if b"store/1" not in line))
    stores.write(path)
    stores.check(path)
    assert set(written) == {"1", "2"}


def test_readers_find_a_damaged_chunk_of_a_finished_store(tmp_path):
    path = tmp_path / "a.zarr"
    stores.write(path)
    for k in range(stores.NUM_LEVELS):
        codecs = json.loads((path / str(k) / "zarr.json").read_text())["codecs"]
        assert [codec["name"] for codec in codecs] == ["bytes", "zstd", "crc32c"]
    flip(chunks(path)[0], 0.5)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(str(path / "0"))[:]


def test_stores_are_valid_for_the_models_of_the_specification(tmp_path):
    import ome_zarr_models

    for name, options in {"plain": {}, "places": {"kernel": "box", "unit": "micrometer", "pixel_size": 0.5}}.items():
        stores.write(tmp_path / name, **options)
        group = ome_zarr_models.open_ome_zarr(zarr.open_group(str(tmp_path / name), mode="r"))
        assert type(group).__name__ == "Image"
        assert [each.path for each in group.attributes.ome.multiscales[0].datasets] == ["0", "1", "2"]


def test_another_image_cannot_resume_the_store_of_the_first(tmp_path):
    path = tmp_path / "a.zarr"
    folder = stores.interrupt(path)
    with pytest.raises(
        ValueError,
        match=f"started with other arguments: .*Rerun with those .* or remove {folder} to start.*'image'.*checksum",
    ):
        stores.write(path, np.flipud(stores.IMAGE))
    assert folder.exists()
