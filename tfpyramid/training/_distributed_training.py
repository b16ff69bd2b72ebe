"""The training loop of `fit_distributed`, and how it resumes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, raw, training_loss
from tfpyramid.training import _collectives, _data_checks
from tfpyramid.training._checkpoints import Checkpoints, FirstWorkersCheckpoints

_REFUSED = -1


class DistributedTraining:
    """The state of a training. Use it as a context manager, which removes temporary files at the end."""

    def __init__(self, model: keras.Model, folder: Path | None, save_every: int | None) -> None:
        self.model, self.strategy, self.save_every = model, model.distribute_strategy, save_every
        with self.strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._step = tf.function(self._train, autograph=False, reduce_retracing=True)
        # The finished epochs; the finished steps of the current epoch, its summed loss and its number of samples.
        self._epoch, self._steps = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))
        self._loss, self._samples = (tf.Variable(0, dtype=tf.float64, trainable=False) for _ in range(2))
        self.checkpoints: Checkpoints | None = None
        if folder is not None:
            parts = {"weights": model.weights, "optimizer": model.optimizer.variables}
            variables = {name: [raw(variable) for variable in part] for name, part in parts.items()}
            variables["place"] = [self._epoch, self._steps, self._loss, self._samples]
            kind = FirstWorkersCheckpoints if _collectives.is_first(self.strategy) else Checkpoints
            self.checkpoints = kind(folder, variables)

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return int(self._epoch)

    def __enter__(self) -> DistributedTraining:
        return self

    def __exit__(self, *_: object) -> None:
        if self.checkpoints is not None:
            self.checkpoints.close()

    def resume(self) -> None:
        """Restore the checkpoint that the first worker chooses, or raise an error on all workers."""
        if self.checkpoints is None:
            return
        number = _REFUSED
        errors: list[Exception] = []
        with _collected(errors):
            number = self.checkpoints.open()
        number = _collectives.broadcast_from_first(self.strategy, _REFUSED if errors else number)
        with _collected(errors):
            if number > 0 and not errors:
                self.checkpoints.restore(number)
        # Wait for all workers before any of them trains: a training step may write or remove checkpoints.
        failed = _collectives.any_worker(self.strategy, number == _REFUSED or bool(errors))
        if errors:
            raise errors[0]
        if failed:
            raise RuntimeError("Another worker could not resume this training. See the error message of that worker.")

    def run_epoch(self, dataset: tf.data.Dataset, verbose: bool) -> float:
        """Train until the end of the current epoch; return its mean loss."""
        options = tf.data.Options()
        # Each worker reads all data and takes its part of each batch, however the data is split into files.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        shown = verbose and _collectives.is_first(self.strategy)
        steps = int(dataset.cardinality())
        bar = keras.utils.Progbar(steps if steps > 0 else None, verbose=int(shown), unit_name="step")
        rest = dataset.skip(int(self._steps)).with_options(options)
        for batch in self.strategy.experimental_distribute_dataset(rest):
            loss, samples = self._step(batch)
            self._steps.assign_add(1)
            self._loss.assign_add(tf.cast(loss * samples, tf.float64))
            self._samples.assign_add(tf.cast(samples, tf.float64))
            bar.update(int(self._steps), [("loss", float(loss))])
            if self.save_every and int(self._steps) % self.save_every == 0:
                self._save()
        if not int(self._steps):
            raise _data_checks.no_batch_error(self.epoch)
        mean = float(self._loss / self._samples)
        self._epoch.assign_add(1)
        for counter in (self._steps, self._loss, self._samples):
            counter.assign(tf.zeros_like(counter))
        self._save()
        return mean

    def _train(self, batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self.model.trainable_variables
        results = self.strategy.run(self._gradients, args=(batch,))
        # The sums are equal on all replicas. Outside `strategy.run`, the optimizer clips them as on a single device.
        loss, samples, *gradients = (self.strategy.experimental_local_results(each)[0] for each in results)
        self.model.optimizer.apply_gradients(zip(gradients, variables))
        return loss, samples

    def _gradients(self, batch: Any) -> list[tf.Tensor]:
        """Return loss, samples and gradients of the whole batch, summed over the replicas."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        replicas = tf.distribute.get_replica_context()
        own = tf.shape(tf.nest.flatten(x)[0])[0]
        samples = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(own, tf.float32))
        variables = [raw(variable) for variable in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            # Undo Keras's division of the loss by the number of replicas.
            loss = training_loss(self.model, x, y, weights) * self.strategy.num_replicas_in_sync
            loss *= tf.cast(tf.cast(own, tf.float32) / samples, loss.dtype)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # The mean loss of a replica without samples is NaN.
        parts = [tf.where(own > 0, part, tf.zeros_like(part)) for part in (loss, *gradients)]
        loss, *gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, parts)
        return [tf.cast(loss, tf.float32), samples, *gradients]

    def _save(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save()


@contextlib.contextmanager
def _collected(errors: list[Exception]) -> Iterator[None]:
    """Append an error to a list, so that it is raised only after the other workers know that this worker failed."""
    try:
        yield
    except Exception as error:  # After any error, the other workers must not wait for this worker.
        errors.append(error)
