"""fit_distributed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid._compat import keras
from tfpyramid.training import _batches, _workers
from tfpyramid.training._distributed_training import DistributedTraining


def fit_distributed(
    model: keras.Model,
    data: _batches.Data,
    epochs: int = 1,
    *,
    checkpoint_folder: str | os.PathLike | None = None,
    save_every: int | None = None,
    verbose: bool = False,
) -> dict[str, list[float]]:
    """Train a compiled model on all replicas of its strategy, as one replica would train on the whole batches.

    It does what `fit` does, and works with `tf.distribute.MultiWorkerMirroredStrategy`, where Keras 3's own `fit`
    fails. Every worker calls it with the same arguments. With a folder for checkpoints, a training that was
    interrupted resumes where it was, also in the middle of an epoch, when all workers are started again.

    Equation:
        The optimizer's step is that of the gradient of `sum_r (n_r / n) loss_r`, over replicas r with n_r of the n
        samples of a batch: the mean over the batch. Clipping applies to this gradient, not to a replica's gradient. A
        replica without samples contributes nothing.

    Convention:
        Batches are those of all replicas together. Every worker reads the same `data` and takes its share of each
        batch. Batch normalization and random layers see only the share of their replica, so with them the weights
        differ from those of one worker. A loss that a layer adds, such as a weight penalty, counts once. Metrics are
        not computed.

        The first worker writes checkpoints ckpt-1, ckpt-2, ... and keeps the last two. It chooses the newest whole
        checkpoint to resume from: it reads all of it and compares TensorFlow's checksums. If newer ones are damaged, it
        warns and names them. Other workers restore the same checkpoint, or all workers raise an error.

    Args:
        model: compiled, and built, inside `strategy.scope()`.
        data: a `tf.data.Dataset` of batches (inputs, targets) or (inputs, targets, weights) that is the same each time
            it is read; or a function that returns one for the number of an epoch, for another order in each.
        epochs: number of epochs, at least 1.
        checkpoint_folder: a folder that all workers share, for checkpoints of this training alone; None writes none.
        save_every: steps from one checkpoint to the next, at least 1; None means an epoch.
        verbose: show a progress bar, on the first worker.

    Returns:
        {"loss": the mean loss of each epoch that this call finished}.

    Raises:
        ValueError: if an argument breaks a rule above; if the checkpoint is that of another model; if the folder holds
            checkpoints and none is whole; if another training writes to the folder.
        RuntimeError: if another worker is lost, or cannot resume.

    References:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 3 (the gradient of a batch over workers).
    """
    folder = _checked_folder(checkpoint_folder)
    epochs = _checks.integer("epochs", epochs, 1)
    verbose = _checks.flag("verbose", verbose)
    if save_every is not None:
        save_every = _checks.integer("save_every", save_every, 1, "steps")
    _check_model(model)
    _batches.check(data)
    if isinstance(data, tf.data.Dataset):
        _batches.of_epoch(data, 0, model)
    losses = []
    with DistributedTraining(model, folder, save_every) as training:
        try:
            training.resume()
            for epoch in range(training.epoch, epochs):
                losses.append(training.run_epoch(_batches.of_epoch(data, epoch, model), verbose))
        except _workers.LOST as error:
            if not _workers.are_several(model.distribute_strategy):
                raise
            then = "trains from the beginning, because there is no `checkpoint_folder`"
            if folder is not None:
                then = f"resumes from the last checkpoint in {folder}"
            raise RuntimeError(
                f"A worker was lost in epoch {training.epoch + 1} of {epochs}. Start all workers again, with the same "
                f"arguments: fit_distributed then {then}."
            ) from error
    return {"loss": losses}


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model) or getattr(model, "optimizer", None) is None or not model.built:
        raise ValueError(f"`model` must be compiled, and built. {_checks.received('model', model)}")
    if hasattr(model.optimizer, "inner_optimizer"):
        raise ValueError(
            "`model` must be trained without a loss scale: use mixed_bfloat16 instead of mixed_float16. "
            f"Received: a model whose optimizer is {type(model.optimizer).__name__}"
        )


def _checked_folder(value: Any) -> Path | None:
    """Return `checkpoint_folder` as an absolute path, which stays the same if the working directory changes."""
    if value is None:
        return None
    text = _plain.path_text(value)
    if text is None or "://" in text:
        rule = "`checkpoint_folder` must be None or the path of a folder on a file system of this machine"
        raise ValueError(f"{rule}. {_checks.received('checkpoint_folder', value)}")
    folder = Path(text).absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`checkpoint_folder` must be a folder. Received: checkpoint_folder={value!r}, a file")
    return folder
