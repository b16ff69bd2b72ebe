"""GroupedOptimizer, which `discriminative_optimizer` returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import NO_LEARNING_RATE, keras, register, variable_name


class _Members:
    """The variables of each group. Keras does not look inside this object, so it does not track them as state."""

    def __init__(self, variables: Sequence[Any], groups: Sequence[Sequence[int]]) -> None:
        self.variables = list(variables)  # A reference keeps each `id` from being reused for another variable.
        self.groups = [list(group) for group in groups]
        self.shapes = [tuple(variable.shape) for variable in variables]
        self.group_of = {id(variables[k]): g for g, group in enumerate(groups) for k in group}


@register
class GroupedOptimizer(keras.optimizers.Optimizer):
    """Apply a separate optimizer, with its own learning rate, clipping and state, to each group of variables.

    A group is a list of variables, compared by identity. A configuration stores their positions among all variables
    that the optimizer is built on, as Keras does for the state of an optimizer, and `build` compares their shapes.

    Args:
        optimizers: the optimizer of each group, by the name of the group.
        places: the positions of the variables of each group, by the name of the group.
        shapes: the shapes of all variables, to compare them in `build`.
        name: name of the optimizer.
    """

    def __init__(
        self,
        optimizers: Mapping[str, keras.optimizers.Optimizer],
        places: Mapping[str, Sequence[int]],
        shapes: Sequence[Sequence[int]],
        *,
        name: str = "discriminative",
    ) -> None:
        super().__init__(name=name, **NO_LEARNING_RATE)
        self.group_names = tuple(optimizers)
        self.group_optimizers = list(optimizers.values())
        self._places = tuple(tuple(places[name]) for name in optimizers)
        self._shapes = tuple(tuple(shape) for shape in shapes)
        self._members: _Members | None = None
        self._is_ready = False

    @property
    def groups(self) -> dict[str, keras.optimizers.Optimizer]:
        """The optimizer of each group, by the name of the group."""
        return dict(zip(self.group_names, self.group_optimizers))

    def assign_members(self, variables: Sequence[Any]) -> None:
        """Set the variables that the positions refer to."""
        shapes = tuple(tuple(variable.shape) for variable in variables)
        if shapes != self._shapes:
            raise ValueError(
                "A saved optimizer must be built on the variables that it was saved with, in the same order. If other "
                "variables are trainable now, load the model with compile=False and create a new optimizer. "
                f"Received: {len(shapes)} variables of shapes {list(shapes)}, but saved with {list(self._shapes)}"
            )
        self._members = _Members(variables, self._places)

    def build(self, var_list: Sequence[Any]) -> None:
        if self._is_ready:
            return
        if self._members is None:
            self.assign_members(var_list)
        super().build(list(var_list))
        split = self._split([(variable, variable) for variable in var_list])
        for optimizer, own in zip(self.group_optimizers, split):
            optimizer.build([variable for _, variable in own])
        self._is_ready = True
        # The order of these variables is the order that a configuration refers to.
        positions = {id(variable): k for k, variable in enumerate(var_list)}
        assert self._members is not None
        groups = [[positions[id(v)] for _, v in own] for own in split]
        self._members = _Members(var_list, groups)

    def _split(self, pairs: Iterable[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
        """Return pairs (value, variable) as one list for each group."""
        split: list[list[tuple[Any, Any]]] = [[] for _ in self.group_names]
        assert self._members is not None
        for value, variable in pairs:
            group = self._members.group_of.get(id(variable))
            if group is None:
                raise ValueError(
                    "Every variable must be in a group of the optimizer. If the model has changed, create a new "
                    f"optimizer. Received: {variable_name(variable)} of shape {tuple(variable.shape)}, in no group"
                )
            split[group].append((value, variable))
        return split

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]], *args: Any, **kwargs: Any) -> Any:
        pairs = list(grads_and_vars)
        with tf.init_scope():
            self.build([variable for _, variable in pairs])
        for optimizer, own in zip(self.group_optimizers, self._split(pairs)):
            if own:
                optimizer.apply_gradients(own, *args, **kwargs)
        self._iterations.assign_add(1)
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Apply gradients; Keras 3's loss scale calls this method instead of `apply_gradients`."""
        if trainable_variables is None:
            assert self._members is not None
            trainable_variables = self._members.variables
        self.apply_gradients(zip(grads, trainable_variables))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        for optimizer, own in zip(self.group_optimizers, self._split([(v, v) for v in var_list])):
            if own:
                optimizer.finalize_variable_values([variable for _, variable in own])

    @property
    def learning_rate(self) -> Any:
        """The learning rate of "task", or else of the last group. Setting it scales all groups by the same factor."""
        return self._reference.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        scheduled = [name for name, each in self.groups.items() if isinstance(each.get_config()["learning_rate"], dict)]
        current = float(tf.convert_to_tensor(self.learning_rate))
        if scheduled or not current > 0:
            raise ValueError(
                "`learning_rate` can only be set if the learning rate of every group is a number greater than 0, not a "
                "schedule, because all groups are scaled by the same factor. "
                f"Received: learning_rate={value!r}, schedules in {scheduled}, current learning rate {current:g}"
            )
        rate = _checks.at_least("learning_rate", value, 0)
        for each in self.group_optimizers:
            each.learning_rate = float(tf.convert_to_tensor(each.learning_rate)) * rate / current

    @property
    def _reference(self) -> keras.optimizers.Optimizer:
        return self.groups.get("task", self.group_optimizers[-1])

    @property
    def variables(self) -> list:
        return [*self._variables, *(variable for each in self.group_optimizers for variable in each.variables)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    # Keras saves the optimizers of the groups separately, so only the counter is saved here.
    def save_own_variables(self, store: Any) -> None:
        store["iterations"] = self._iterations.numpy()

    def load_own_variables(self, store: Any) -> None:
        self._iterations.assign(store["iterations"])

    def get_config(self) -> dict[str, Any]:
        members = self._members
        positions = self._places if members is None else members.groups
        return {
            "name": self.name,
            "optimizers": {name: keras.saving.serialize_keras_object(each) for name, each in self.groups.items()},
            "places": {name: list(group) for name, group in zip(self.group_names, positions)},
            "shapes": [list(shape) for shape in (self._shapes if members is None else members.shapes)],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> GroupedOptimizer:
        optimizers = {
            name: keras.saving.deserialize_keras_object(each, custom_objects=custom_objects)
            for name, each in config["optimizers"].items()
        }
        for name, each in optimizers.items():
            if not isinstance(each, keras.optimizers.Optimizer):
                rule = "`optimizers` must map names to instances of keras.optimizers.Optimizer."
                raise ValueError(f"{rule} {_checks.received(name, each)}")
        return cls(**{**config, "optimizers": optimizers})
