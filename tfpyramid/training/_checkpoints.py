"""Writing and reading the checkpoints of `fit_distributed`."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import warnings
from pathlib import Path

import tensorflow as tf

from tfpyramid import _files
from tfpyramid._working_folder import working_folder

_LOCK = "tfpyramid.training.fit_distributed writes here\n"
_WORKING = ".fit_distributed"
_TEMPORARY = "tfpyramid-worker-"
# TensorFlow chooses these names for the files of a checkpoint; the checkpoint's name "ckpt-NUMBER" is chosen here.
_FILE = re.compile(r"(?P<name>.+)\.(index|data-\d{5}-of-\d{5})", re.DOTALL)
_NAME = re.compile(r"ckpt-([1-9][0-9]{0,17})", re.ASCII)
_ANY_CHECKPOINT = re.compile(r"checkpoint|ckpt.*\.index|.+\.data-\d{5}-of-\d{5}", re.DOTALL)  # Of any program.
_STATE = "checkpoint"  # TensorFlow's list of checkpoints, written for other programs and never read here.

Variables = dict[str, list[tf.Variable]]


class Checkpoints:
    """The checkpoints of a worker: it restores the checkpoint that the first worker chooses, and helps to write."""

    def __init__(self, folder: Path, variables: Variables) -> None:
        self.folder, self._variables = folder, variables
        self._state = tf.train.Checkpoint(**variables)
        self._counter = self._state.save_counter  # TensorFlow creates the counter when it is first read.
        self._working = Path()  # The working folder, which exists from `open` to `close`.
        self._resources = contextlib.ExitStack()
        _files.clear_folders(Path(tempfile.gettempdir()), _TEMPORARY, _LOCK)

    def open(self) -> int:
        """Prepare to write; return the number of the checkpoint to resume from, or 0 if there is none.

        Every worker must write, because variables may be distributed over the workers. Only the first worker may write
        to the shared folder, so the others write to a temporary folder.
        """
        temporary = _files.own_folder(Path(tempfile.gettempdir()), _TEMPORARY, _LOCK)
        self._working = self._resources.enter_context(temporary)
        return 0

    def restore(self, number: int) -> None:
        """Restore the variables from a checkpoint; raise `ValueError` if this worker cannot read it."""
        path = _path(self.folder, number)
        try:
            _check_fit(path, self._variables)
            self._state.restore(str(path)).assert_consumed()
        except (tf.errors.OpError, OSError) as error:
            raise ValueError(
                "`checkpoint_folder` must be one folder that all workers share. Received: checkpoint_folder="
                f"{str(self.folder)!r}, from which this worker cannot read {path.name}: {_first_line(error)}"
            ) from error

    def save(self) -> None:
        """Write the variables to the temporary folder, and delete the files, which nobody reads."""
        self._state.write(str(self._working / "ckpt"))
        for path in self._working.glob("ckpt.*"):
            path.unlink()

    def close(self) -> None:
        """Remove the temporary files and folders."""
        self._resources.close()


class FirstWorkersCheckpoints(Checkpoints):
    """The checkpoints of the first worker: it chooses the checkpoint to resume from, and writes new checkpoints.

    It writes a new checkpoint to a working folder, flushes it to the disk and moves it to the shared folder, the index
    last. It keeps the last two complete checkpoints. It removes older and damaged checkpoints only after a new one is
    on the disk.
    """

    def __init__(self, folder: Path, variables: Variables) -> None:
        super().__init__(folder, variables)
        self._kept: list[int] = []
        self._created_folder = False

    def open(self) -> int:
        self._created_folder = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._working = self._resources.enter_context(working_folder(self.folder / _WORKING, _LOCK))
        except BlockingIOError as error:
            raise ValueError(
                "`checkpoint_folder` must be used by one training at a time, and another process is writing there. "
                "Wait until all processes of that training have ended, or choose another folder. "
                f"Received: checkpoint_folder={str(self.folder)!r}"
            ) from error
        except OSError as error:
            raise ValueError(
                "`checkpoint_folder` must be a writable folder. "
                f"Received: checkpoint_folder={str(self.folder)!r}: {error}"
            ) from error
        self._resources.callback(self._undo_unfinished)
        self._undo_unfinished()
        last = self._choose()
        if last:
            self._kept = [number for number in self._numbers() if number <= last][-2:]
            for number in self._numbers():
                if number < self._kept[0]:
                    self._remove(number)
            self._write_state()
        return last

    def save(self) -> None:
        number = self._kept[-1] + 1 if self._kept else 1
        self._counter.assign(number)
        self._state.write(str(_path(self._working, number)))
        for name in os.listdir(self._working):
            _files.sync(self._working / name)
        self._remove(number)  # The index of a damaged checkpoint with this number must not be read with the new data.
        for path in _files_of(self._working, number):
            os.replace(path, self.folder / path.name)
        _files.sync(self.folder)
        self._kept = [*self._kept[-1:], number]
        self._write_state()
        for other in set(self._numbers()) - set(self._kept):
            self._remove(other)

    def close(self) -> None:
        super().close()
        if self._created_folder:
            with contextlib.suppress(OSError):  # `rmdir` fails if the folder holds checkpoints, which must be kept.
                self.folder.rmdir()

    def _undo_unfinished(self) -> None:
        """Remove the data of a checkpoint from the folder if its index is still in the working folder."""
        for number in _numbers(self._working):
            index = _path(self.folder, number).with_suffix(".index")
            if (self._working / index.name).exists() and not index.exists():
                self._remove(number)
        _files.empty(self._working)

    def _choose(self) -> int:
        """Return the number of the newest complete checkpoint, or 0 if the folder has no files of checkpoints."""
        damaged: list[str] = []
        for number in reversed(self._numbers()):
            path = _path(self.folder, number)
            problem = _problem(self.folder, number)
            if problem is None:
                _check_fit(path, self._variables)
                if damaged:
                    warnings.warn(
                        f"Training resumes from {path}, the newest complete checkpoint. Newer checkpoints are damaged "
                        f"and will be removed after the next checkpoint is written: {'; '.join(damaged)}",
                        stacklevel=5,
                    )
                return number
            damaged.append(f"{path.name} ({problem})")
        unusable = [name for name in os.listdir(self.folder) if _ANY_CHECKPOINT.fullmatch(name)]
        if unusable:
            listed = "; ".join(damaged) or ", ".join(sorted(unusable)[:5])
            raise ValueError(
                "`checkpoint_folder` must be empty, or hold a complete checkpoint ckpt-1, ckpt-2, ... of the same "
                "training. Remove the files of its checkpoints to train from the beginning, or choose another folder. "
                f"Received: checkpoint_folder={str(self.folder)!r}, which holds no complete checkpoint: {listed}"
            )
        return 0

    def _numbers(self) -> list[int]:
        return _numbers(self.folder)

    def _remove(self, number: int) -> None:
        for path in reversed(_files_of(self.folder, number)):
            path.unlink()

    def _write_state(self) -> None:
        """Write the list that `tf.train.latest_checkpoint` reads."""
        names = [f"ckpt-{number}" for number in self._kept]
        lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
        _files.write_whole(self._working / _STATE, "".join(line + "\n" for line in lines).encode())
        os.replace(self._working / _STATE, self.folder / _STATE)
        _files.sync(self.folder)


def _path(folder: Path, number: int) -> Path:
    """Return TensorFlow's path of a checkpoint: the path of its files without their suffixes."""
    return folder / f"ckpt-{number}"


def _numbers(folder: Path) -> list[int]:
    """Return the sorted numbers of all checkpoints that have at least one file in a folder."""
    files = filter(None, map(_FILE.fullmatch, os.listdir(folder)))
    return sorted({int(name[1]) for name in (_NAME.fullmatch(file["name"]) for file in files) if name})


def _files_of(folder: Path, number: int) -> list[Path]:
    """Return the files of a checkpoint, the index last."""
    files = filter(None, map(_FILE.fullmatch, os.listdir(folder)))
    return sorted(folder / file[0] for file in files if file["name"] == f"ckpt-{number}")


def _problem(folder: Path, number: int) -> str | None:
    """Read a checkpoint completely; return what is wrong with it, or None if it is complete."""
    special = [path.name for path in _files_of(folder, number) if not path.is_file()]
    if special:
        return f"{special[0]} is not a file"
    try:
        reader = tf.train.load_checkpoint(str(_path(folder, number)))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # TensorFlow verifies the checksum.
    except Exception as error:  # TensorFlow raises many kinds of errors for damaged files.
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _check_fit(path: Path, variables: Variables) -> None:
    """Raise `ValueError` unless the variables of a checkpoint have the shapes and dtypes of `variables`."""
    reader = tf.train.load_checkpoint(str(path))
    dtypes = reader.get_variable_to_dtype_map()
    # TensorFlow names the variables weights/0/.ATTRIBUTES/VARIABLE_VALUE, and so on.
    held = {
        "/".join(name.split("/")[:2]): (shape, dtypes[name])
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.split("/")[0] in variables
    }
    named = {f"{name}/{k}": variable for name, part in variables.items() for k, variable in enumerate(part)}
    required = {name: (variable.shape.as_list(), variable.dtype) for name, variable in named.items()}
    if held != required:
        differing = sorted(name for name in {**held, **required} if held.get(name) != required.get(name))
        raise ValueError(
            "`checkpoint_folder` must be empty, or hold checkpoints of the same model and optimizer. Received: "
            f"{path}, which differs in {len(differing)} variables, for example {differing[0]}"
        )
