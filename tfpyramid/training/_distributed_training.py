"""The training of `fit_distributed`: its step, and what it resumes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, raw, training_loss
from tfpyramid.training import _batches, _workers
from tfpyramid.training._checkpoints import Checkpoints, FirstWorkersCheckpoints

_REFUSED = -1


class DistributedTraining:
    """A model in training; as a context, it prepares checkpoints, and removes what is temporary at the end."""

    def __init__(self, model: keras.Model, folder: Path | None, save_every: int | None) -> None:
        self.model, self.strategy, self.save_every = model, model.distribute_strategy, save_every
        with self.strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._step = tf.function(self._train, autograph=False, reduce_retracing=True)
        # Finished epochs, the finished steps of the epoch, and the sums of its losses and of its samples.
        self._epoch, self._steps = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))
        self._loss, self._samples = (tf.Variable(0, dtype=tf.float64, trainable=False) for _ in range(2))
        self.checkpoints: Checkpoints | None = None
        if folder is not None:
            parts = {"weights": model.weights, "optimizer": model.optimizer.variables}
            variables = {name: [raw(variable) for variable in part] for name, part in parts.items()}
            variables["place"] = [self._epoch, self._steps, self._loss, self._samples]
            kind = FirstWorkersCheckpoints if _workers.is_first(self.strategy) else Checkpoints
            self.checkpoints = kind(folder, variables)

    @property
    def epoch(self) -> int:
        """The number of epochs that are finished."""
        return int(self._epoch)

    def __enter__(self) -> DistributedTraining:
        return self

    def __exit__(self, *_: object) -> None:
        if self.checkpoints is not None:
            self.checkpoints.close()

    def resume(self) -> None:
        """Restore the checkpoint that the first worker chooses, on all workers or on none."""
        if self.checkpoints is None:
            return
        number = _REFUSED
        errors: list[Exception] = []
        with _collected(errors):
            number = self.checkpoints.open()
        number = _workers.of_first(self.strategy, _REFUSED if errors else number)
        with _collected(errors):
            if number > 0 and not errors:
                self.checkpoints.restore(number)
        # Nobody trains, and so nothing is written or removed, before all have restored the checkpoint.
        failed = _workers.any_of(self.strategy, number == _REFUSED or bool(errors))
        if errors:
            raise errors[0]
        if failed:
            raise RuntimeError("Another worker could not resume this training. See its error message.")

    def run_epoch(self, dataset: tf.data.Dataset, verbose: bool) -> float:
        """Train to the end of the epoch, from where it is; return its mean loss."""
        options = tf.data.Options()
        # Each worker reads all and takes its share of each batch, whatever files there are.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        shown = verbose and _workers.is_first(self.strategy)
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
            raise _batches.no_batch(self.epoch)
        mean = float(self._loss / self._samples)
        self._epoch.assign_add(1)
        for counter in (self._steps, self._loss, self._samples):
            counter.assign(tf.zeros_like(counter))
        self._save()
        return mean

    def _train(self, batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self.model.trainable_variables
        results = self.strategy.run(self._gradients, args=(batch,))
        # All replicas have the same sums: here, outside of them, they are clipped and applied as those of one device.
        loss, samples, *gradients = (self.strategy.experimental_local_results(each)[0] for each in results)
        self.model.optimizer.apply_gradients(zip(gradients, variables))
        return loss, samples

    def _gradients(self, batch: Any) -> list[tf.Tensor]:
        """Return loss, samples and gradients of a batch, from a replica that sees its share of it."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        replicas = tf.distribute.get_replica_context()
        own = tf.shape(tf.nest.flatten(x)[0])[0]
        samples = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(own, tf.float32))
        variables = [raw(variable) for variable in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            # Keras divides the loss by the number of replicas.
            loss = training_loss(self.model, x, y, weights) * self.strategy.num_replicas_in_sync
            loss *= tf.cast(tf.cast(own, tf.float32) / samples, loss.dtype)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # The mean over no sample is NaN.
        parts = [tf.where(own > 0, part, tf.zeros_like(part)) for part in (loss, *gradients)]
        loss, *gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, parts)
        return [tf.cast(loss, tf.float32), samples, *gradients]

    def _save(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save()


@contextlib.contextmanager
def _collected(errors: list[Exception]) -> Iterator[None]:
    """Keep an error, to be raised when the other workers know of it."""
    try:
        yield
    except Exception as error:  # Whatever it is, the others must not wait for this worker.
        errors.append(error)
