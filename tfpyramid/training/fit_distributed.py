"""fit_distributed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, raw, training_loss

Data = Union[tf.data.Dataset, Callable[[int], tf.data.Dataset]]

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def fit_distributed(
    model: keras.Model,
    data: Data,
    epochs: int = 1,
    *,
    checkpoint_folder: str | Path | None = None,
    save_every: int | None = None,
    verbose: bool = False,
) -> dict[str, list[float]]:
    """Train a compiled model on the replicas of its strategy, as one would train on all of each batch.

    What `fit` does, where Keras 3's own `fit` fails: with `tf.distribute.MultiWorkerMirroredStrategy`. Every worker
    calls it alike. With a folder for checkpoints, a training that was broken off goes on where it was, in the middle of
    an epoch too, when all workers are started again.

    Equation:
        The step of the optimizer is that by the gradient of `sum_r (n_r / n) loss_r`, over replicas r with n_r of the n
        samples of a batch: the mean over the batch. Clipping is that of this gradient, not of a replica's.

    Convention:
        Batches are those of all replicas together, and every worker reads the same `data`, of which it takes its share.
        Batch normalisation knows its own replica's share only, and so does what a layer draws at random: there, weights
        are not those of one worker. A loss of a layer, such as a weight penalty, counts once. Metrics are not computed.

    Args:
        model: compiled, and built, inside `strategy.scope()`.
        data: a `tf.data.Dataset` of batches (inputs, targets) or (inputs, targets, weights) that is the same each time
            it is read; or a function that returns one for the number of an epoch, for another order in each.
        epochs: how many, at least 1.
        checkpoint_folder: where to keep the last two checkpoints, the same folder for all workers; None keeps none.
        save_every: steps from one checkpoint to the next, at least 1; None means an epoch.
        verbose: show a progress bar, on the first worker.

    Returns:
        {"loss": the mean loss of each epoch that was ended in this call}.

    Raises:
        ValueError: if an argument breaks a rule above, or the checkpoint is that of another model.
        RuntimeError: if another worker is lost; it says from where the training can go on.

    References:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 3 (the gradient of a batch over workers).
    """
    training = _Training(model, checkpoint_folder, save_every)
    epochs = _checks.integer("epochs", epochs, 1)
    verbose = _checks.flag("verbose", verbose)
    losses = []
    for epoch in range(int(training.epoch), epochs):
        try:
            losses.append(training.run_epoch(data(epoch) if callable(data) else data, verbose))
        except _LOST as error:
            raise RuntimeError(
                f"A worker was lost in epoch {epoch + 1} of {epochs}. Start all workers again, as before: training "
                f"{training.goes_on_from()}."
            ) from error
    return {"loss": losses}


class _Training:
    """A model in training: the step, and where it is."""

    def __init__(self, model: keras.Model, folder: str | Path | None, save_every: int | None) -> None:
        if getattr(model, "optimizer", None) is None or not model.built:
            raise ValueError(f"`model` must be compiled, and built. Received: model={model!r}")
        if hasattr(model.optimizer, "inner_optimizer"):
            raise ValueError(
                "`model` must be trained without a loss scale: take mixed_bfloat16 in place of mixed_float16. "
                f"Received: a model whose optimizer is {type(model.optimizer).__name__}"
            )
        self.model, self.strategy = model, model.distribute_strategy
        with self.strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self.save_every = None if save_every is None else _checks.integer("save_every", save_every, 1, "steps")
        self._step = tf.function(self._train, autograph=False, reduce_retracing=True)
        # Steps that the epoch has behind it, and the sums of its losses and of its samples.
        self.epoch, self.step = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))
        self.loss, self.samples = (tf.Variable(0, dtype=tf.float64, trainable=False) for _ in range(2))
        self.checkpoints = None if folder is None else self._checkpoints(Path(folder))

    def run_epoch(self, dataset: tf.data.Dataset, verbose: bool) -> float:
        """Train to the end of the epoch, from where it is; return its mean loss."""
        first, options = int(self.step), tf.data.Options()
        # Each worker reads all and takes its share of each batch, whatever files there are.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        shown = verbose and self._is_chief()
        steps = int(dataset.cardinality())
        bar = keras.utils.Progbar(steps if steps > 0 else None, verbose=int(shown), unit_name="step")
        for batch in self.strategy.experimental_distribute_dataset(dataset.skip(first).with_options(options)):
            loss, samples = self._step(batch)
            self.step.assign_add(1)
            self.loss.assign_add(tf.cast(loss * samples, tf.float64))
            self.samples.assign_add(tf.cast(samples, tf.float64))
            bar.update(int(self.step), [("loss", float(loss))])
            if self.save_every and int(self.step) % self.save_every == 0:
                self._save()
        mean = float(self.loss / self.samples)
        self.epoch.assign_add(1)
        for counter in (self.step, self.loss, self.samples):
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

    def _checkpoints(self, folder: Path) -> tf.train.CheckpointManager:
        """Return the manager of checkpoints, and go back to the last one."""
        parts = {"weights": self.model.weights, "optimizer": self.model.optimizer.variables}
        variables = {name: [raw(variable) for variable in part] for name, part in parts.items()}
        state = tf.train.Checkpoint(**variables, place=[self.epoch, self.step, self.loss, self.samples])
        last = tf.train.latest_checkpoint(str(folder))
        if last is not None:
            _check_fit(last, variables)
            state.restore(last).assert_consumed()
        # Every worker must take part in writing, but one alone may write there.
        own = str(folder) if self._is_chief() else tempfile.mkdtemp(prefix="tfpyramid-worker-")
        return tf.train.CheckpointManager(state, own, max_to_keep=2)

    def _save(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save()

    def _is_chief(self) -> bool:
        resolver = getattr(self.strategy, "cluster_resolver", None)
        return resolver is None or not resolver.cluster_spec().jobs or resolver.task_id == 0

    def goes_on_from(self) -> str:
        """Say where a training that is started again would go on."""
        if self.checkpoints is None:
            return "begins anew, as there is no `checkpoint_folder`"
        return f"goes on from the last checkpoint in {self.checkpoints.directory}"


def _check_fit(checkpoint: str, variables: dict[str, list[tf.Variable]]) -> None:
    """Raise `ValueError` unless a checkpoint holds variables of these shapes and dtypes."""
    reader = tf.train.load_checkpoint(checkpoint)
    dtypes = reader.get_variable_to_dtype_map()
    # Its own names are weights/0/.ATTRIBUTES/VARIABLE_VALUE, and so on.
    held = {
        "/".join(name.split("/")[:2]): (shape, dtypes[name])
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.split("/")[0] in variables
    }
    named = {f"{name}/{k}": variable for name, part in variables.items() for k, variable in enumerate(part)}
    wanted = {name: (variable.shape.as_list(), variable.dtype) for name, variable in named.items()}
    if held != wanted:
        differing = sorted(name for name in {**held, **wanted} if held.get(name) != wanted.get(name))
        raise ValueError(
            "`checkpoint_folder` must be empty, or that of the same model and optimizer. Received: "
            f"{checkpoint}, which differs in {len(differing)} variables, {differing[0]} among them"
        )
