"""discriminative_optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfpyramid import _checks
from tfpyramid._compat import keras, nested_layers, variable_name
from tfpyramid.layers import downsampling, pyramids
from tfpyramid.training._grouped_optimizer import GroupedOptimizer

# The layers that make levels. They form the group "pyramid" by default.
PYRAMID_LAYERS = tuple(getattr(module, name) for module in (downsampling, pyramids) for name in module.__all__)


def discriminative_optimizer(
    model: keras.Model,
    *,
    pyramid: keras.optimizers.Optimizer | None = None,
    task: keras.optimizers.Optimizer | None = None,
    pyramid_layers: Sequence[Any] | None = None,
    task_layers: Sequence[Any] | None = None,
    groups: Mapping[str, tuple[Sequence[Any], keras.optimizers.Optimizer]] | None = None,
) -> keras.optimizers.Optimizer:
    """Return one optimizer that trains the pyramid of a model more slowly than the rest of the network.

    Each group of variables has its own optimizer, and therefore its own learning rate, schedule, clipping and weight
    decay: `clipnorm` clips each variable, `global_clipnorm` the group as a whole. Pass the result to `compile`. It is
    saved with the model, resumes from its saved state, and supports mixed precision.

    Convention:
        Variables are compared by identity, not by name, and each must be in exactly one group. `pyramid_layers` and
        `task_layers` are used exactly as given. By default, the pyramid is every variable of the model's pyramids and
        downsamplers that is in no group of `groups`, and the task is every variable that is in no other group.
        `optimizer.learning_rate` is the learning rate of the task. Setting it, as the callbacks of Keras 3 do, scales
        the learning rates of all groups by the same factor. (Callbacks of Keras 2 set only that of the task, because
        they assign the variable itself.)

    Args:
        model: a model that is built.
        pyramid: optimizer of the pyramid; None means `Adam(1e-4, global_clipnorm=1.0)`.
        task: optimizer of the rest; None means `Adam(1e-3, global_clipnorm=5.0)`.
        pyramid_layers: layers, models and variables of the pyramid. None finds the layers of tfpyramid that make
            levels, also in nested models.
        task_layers: layers, models and variables of the task. None means every variable that is in no other group.
        groups: further groups, by name: `{"strides": ([layer.scaled_log_strides], keras.optimizers.Adam(1e-2))}`.

    Returns:
        A `keras.optimizers.Optimizer`. Its attribute `groups` is a dict of the optimizers of the groups.

    Raises:
        ValueError: if an argument breaks a rule above; if a group has no variable; if a variable is in no group, in two
            groups, or not in the model. Also later, if the optimizer gets a variable that is in no group.

    Example:
        >>> image = keras.Input((None, None, 3))
        >>> levels = layers.LearnablePyramid(3)(image)
        >>> model = keras.Model(image, layers.UpsampleConcat()(layers.PyramidConv2D(4)(levels)))
        >>> model.compile(training.discriminative_optimizer(model), "mse")
        >>> {name: float(each.learning_rate) for name, each in model.optimizer.groups.items()}  # doctest: +ELLIPSIS
        {'pyramid': 9.9...e-05, 'task': 0.001...}

    References:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, 2018, section 3.2
        (discriminative fine-tuning).
    """
    if not isinstance(model, keras.Model) or not model.built:
        rule = "`model` must be a keras.Model that is built. Call it on a batch first."
        raise ValueError(f"{rule} {_checks.received('model', model)}")
    variables = list(model.trainable_variables)
    extra = _checked_groups(groups)
    members = {name: _members(f"groups[{name!r}]", given, variables) for name, (given, _) in extra.items()}
    if pyramid_layers is None:
        found = [layer for layer in nested_layers(model) if isinstance(layer, PYRAMID_LAYERS)]
        members["pyramid"] = _without(_members("pyramid_layers", found, variables), members)
    else:
        members["pyramid"] = _members("pyramid_layers", pyramid_layers, variables)
    if task_layers is None:
        members["task"] = _without(variables, members)
    else:
        members["task"] = _members("task_layers", task_layers, variables)
    optimizers = {name: optimizer for name, (_, optimizer) in extra.items()}
    optimizers["pyramid"] = keras.optimizers.Adam(1e-4, global_clipnorm=1.0) if pyramid is None else pyramid
    optimizers["task"] = keras.optimizers.Adam(1e-3, global_clipnorm=5.0) if task is None else task
    _check_optimizers(optimizers)
    _check_partition(members, variables)
    index = {id(variable): k for k, variable in enumerate(variables)}
    positions = {name: tuple(index[id(variable)] for variable in group) for name, group in members.items()}
    optimizer = GroupedOptimizer(optimizers, positions, [tuple(variable.shape) for variable in variables])
    optimizer.assign_members(variables)
    return optimizer


def _checked_groups(groups: Any) -> dict[str, tuple[Sequence[Any], Any]]:
    rule = "`groups` must map names other than 'pyramid' and 'task' to pairs (list of layers and variables, optimizer)."
    if groups is None:
        return {}
    if not isinstance(groups, Mapping) or {"pyramid", "task"} & set(groups):
        raise ValueError(f"{rule} {_checks.received('groups', groups)}")
    for name, group in groups.items():
        if not isinstance(name, str) or not isinstance(group, (list, tuple)) or len(group) != 2:
            raise ValueError(f"{rule} {_checks.received(f'groups[{name!r}]', group)}")
    return dict(groups)


def _members(name: str, given: Any, variables: list) -> list:
    """Return the variables of layers, models and variables, each once; raise if one is not in the model."""
    rule = f"`{name}` must be a list of layers and trainable variables of the model."
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{rule} {_checks.received(name, given)}")
    known = {id(variable) for variable in variables}
    members: dict[int, Any] = {}
    for each in given:
        if not isinstance(each, keras.layers.Layer) and not hasattr(each, "assign"):
            raise ValueError(f"{rule} {_checks.received(name, given)}")
        for variable in each.trainable_variables if isinstance(each, keras.layers.Layer) else [each]:
            if id(variable) not in known:
                raise ValueError(f"{rule} Received: {variable_name(variable)}, which is not in the model")
            members[id(variable)] = variable
    return list(members.values())


def _without(variables: list, members: dict[str, list]) -> list:
    """Return the variables that are in no group yet."""
    grouped = {id(variable) for group in members.values() for variable in group}
    return [variable for variable in variables if id(variable) not in grouped]


def _check_optimizers(optimizers: dict[str, Any]) -> None:
    for name, optimizer in optimizers.items():
        if not isinstance(optimizer, keras.optimizers.Optimizer) or isinstance(
            optimizer, keras.mixed_precision.LossScaleOptimizer
        ):
            raise ValueError(
                f"`{_argument(name)}` must be a keras.optimizers.Optimizer without a loss scale. Wrap the result of "
                f"discriminative_optimizer in the loss scale instead. {_checks.received(name, optimizer)}"
            )
        if getattr(optimizer, "loss_scale_factor", None) is not None:
            raise ValueError(
                f"`{_argument(name)}` must not have a `loss_scale_factor`, because all groups have the same loss. "
                f"Received: loss_scale_factor={optimizer.loss_scale_factor!r}"
            )
    if len({id(optimizer) for optimizer in optimizers.values()}) < len(optimizers):
        raise ValueError(
            "`pyramid`, `task` and `groups` must have a separate optimizer for each group. "
            f"Received: the same optimizer for two of the groups {list(optimizers)}"
        )


def _argument(group: str) -> str:
    """Return the name of the argument with the optimizer of a group."""
    return group if group in ("pyramid", "task") else f"groups[{group!r}]"


def _check_partition(members: dict[str, list], variables: list) -> None:
    """Raise `ValueError` unless every variable is in exactly one group and every group has a variable."""
    for name, group in members.items():
        if not group:
            argument = f"{name}_layers" if name in ("pyramid", "task") else f"groups[{name!r}]"
            raise ValueError(
                f"`{argument}` must contain at least one trainable variable of the model. Received: none "
                f"of {[variable_name(variable) for variable in variables]}"
            )
    for variable in variables:
        names = [name for name, group in members.items() if any(variable is each for each in group)]
        if len(names) != 1:
            raise ValueError(
                "`pyramid_layers`, `task_layers` and `groups` must put every trainable variable of the model in "
                f"exactly one group. Received: {variable_name(variable)} in {names or 'no group'}"
            )
