"""fit_distributed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid._compat import keras
from tfpyramid.training import _collectives, _data_checks
from tfpyramid.training._distributed_training import DistributedTraining


def fit_distributed(
    model: keras.Model,
    data: _data_checks.Data,
    epochs: int = 1,
    *,
    checkpoint_folder: str | os.PathLike | None = None,
    save_every: int | None = None,
    verbose: bool = False,
) -> dict[str, list[float]]:
    """Train a compiled model on all replicas of its strategy, with the steps of one replica on the whole batches.

    It replaces `fit` for `tf.distribute.MultiWorkerMirroredStrategy`, where Keras 3's own `fit` fails. Call it on every
    worker with the same arguments. If training with a folder for checkpoints is interrupted, restart all workers:
    training resumes from the last checkpoint, also in the middle of an epoch.

    Equation:
        The optimizer applies the gradient of `sum_r (n_r / n) loss_r`, over replicas r with n_r of the n samples of a
        batch: the mean over the batch. Clipping applies to this gradient, not to the gradient of a replica. A replica
        without samples contributes nothing.

    Convention:
        A batch is the batch of all replicas together. Every worker reads the same `data` and takes its part of each
        batch. Batch normalization and random layers see only the part of their replica, so with them the weights differ
        from those of one worker. A loss that a layer adds, such as a weight penalty, counts once. Metrics are not
        computed.

        The first worker writes checkpoints ckpt-1, ckpt-2, ... and keeps the last two. To resume, it reads the
        checkpoints completely, verifies TensorFlow's checksums, and chooses the newest complete checkpoint. If newer
        checkpoints are damaged, it warns and names them. All workers restore the same checkpoint, or all raise an
        error.

    Args:
        model: a model that was compiled and built inside `strategy.scope()`.
        data: a `tf.data.Dataset` of batches (inputs, targets) or (inputs, targets, weights), in the same order each
            time it is read. Or a function that takes the number of an epoch and returns such a dataset, to shuffle each
            epoch differently.
        epochs: number of epochs, at least 1.
        checkpoint_folder: a folder that all workers share, only for the checkpoints of this training; None writes no
            checkpoints.
        save_every: number of steps between checkpoints, at least 1; None means once per epoch.
        verbose: whether the first worker shows a progress bar.

    Returns:
        {"loss": the mean loss of each epoch that this call finished}.

    Raises:
        ValueError: if an argument breaks a rule above; if the checkpoint belongs to another model; if the folder holds
            checkpoints but no complete one; if another training writes to the folder.
        RuntimeError: if another worker is lost, or cannot resume.

    References:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 3 (the gradient of a batch over workers).
    """
    folder = _checked_folder(checkpoint_folder)
    epochs = _checks.integer("epochs", epochs, 1)
    verbose = _checks.flag("verbose", verbose)
    if save_every is not None:
        save_every = _checks.integer("save_every", save_every, 1, "the number of steps between checkpoints")
    _check_model(model)
    _data_checks.check_data(data)
    if isinstance(data, tf.data.Dataset):
        _data_checks.epoch_dataset(data, 0, model)
    losses = []
    with DistributedTraining(model, folder, save_every) as training:
        try:
            training.resume()
            for epoch in range(training.epoch, epochs):
                losses.append(training.run_epoch(_data_checks.epoch_dataset(data, epoch, model), verbose))
        except _collectives.LOST as error:
            if not _collectives.has_other_workers(model.distribute_strategy):
                raise
            outcome = "trains from the beginning, because there is no `checkpoint_folder`"
            if folder is not None:
                outcome = f"resumes from the last checkpoint in {folder}"
            raise RuntimeError(
                f"A worker was lost in epoch {training.epoch + 1} of {epochs}. Restart all workers with the same "
                f"arguments. fit_distributed then {outcome}."
            ) from error
    return {"loss": losses}


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model) or getattr(model, "optimizer", None) is None or not model.built:
        raise ValueError(f"`model` must be a compiled and built keras.Model. {_checks.received('model', model)}")
    if hasattr(model.optimizer, "inner_optimizer"):
        raise ValueError(
            "`model` must have an optimizer without a loss scale. Use mixed_bfloat16 instead of mixed_float16. "
            f"Received: a model with optimizer {type(model.optimizer).__name__}"
        )


def _checked_folder(value: Any) -> Path | None:
    """Return `checkpoint_folder` as an absolute path, which does not depend on the working directory."""
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
