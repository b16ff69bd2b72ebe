"""What an optimizer with groups refuses."""

import pytest

from tests.training.grouped import fit, make_model
from tfpyramid import layers, training
from tfpyramid._compat import KERAS_3, keras


def test_a_variable_of_another_model_is_refused():
    model, other = make_model(), make_model()
    other.compile(training.discriminative_optimizer(model), "mse")
    with pytest.raises(ValueError, match="Every variable must be in a group of the optimizer.*kernel.*in no group"):
        fit(other)


def test_a_saved_optimizer_is_refused_by_a_model_of_other_shapes():
    optimizer = training.discriminative_optimizer(make_model())
    again = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(
        ValueError, match="must be built on the variables that it was saved with.* Received: 8 variables"
    ):
        again.build(make_model(kernel_size=1).trainable_variables)


def test_a_group_that_matches_no_variable_is_refused():
    image = keras.Input((8, 8, 2))
    plain = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    with pytest.raises(
        ValueError, match=r"`pyramid_layers` must contain at least one .* Received: none of \['.*kernel"
    ):
        training.discriminative_optimizer(plain)
    only = keras.Model(image, layers.LearnablePyramid(2)(image))
    with pytest.raises(ValueError, match="`task_layers` must contain at least one trainable variable of the model"):
        training.discriminative_optimizer(only)
    model = make_model()
    with pytest.raises(ValueError, match=r"`groups\['extra'\]` must contain at least one trainable variable"):
        training.discriminative_optimizer(model, groups={"extra": ([model.layers[3]], keras.optimizers.SGD())})


def test_a_variable_in_no_group_or_in_two_is_named():
    model = make_model()
    pyramid, convolutions = model.layers[1:3]
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*kernel.* in no group"):
        training.discriminative_optimizer(model, task_layers=[convolutions.level_layers[0]])
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*kernel.* in \['pyramid', 'task'\]"):
        training.discriminative_optimizer(model, pyramid_layers=[pyramid], task_layers=[pyramid, convolutions])
    bias = convolutions.level_layers[0].bias
    groups = {"a": ([bias], keras.optimizers.SGD()), "b": ([bias], keras.optimizers.SGD())}
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*bias.* in \['a', 'b'\]"):
        training.discriminative_optimizer(model, groups=groups)


def test_what_is_none_of_the_models_is_refused():
    model, other = make_model(), make_model()
    with pytest.raises(ValueError, match="`pyramid_layers` must be a list of layers .* which is not in the model"):
        training.discriminative_optimizer(model, pyramid_layers=[other.layers[1]])
    for given in (model.layers[1], ["learnable_pyramid"]):
        with pytest.raises(ValueError, match="`task_layers` must be a list of layers and trainable variables"):
            training.discriminative_optimizer(model, task_layers=given)


@pytest.mark.parametrize("groups", [[1], {"task": ([], None)}, {"a": 3}, {1: ([], None)}])
def test_groups_are_checked(groups):
    with pytest.raises(ValueError, match="`groups` must map names other than 'pyramid' and 'task' to pairs"):
        training.discriminative_optimizer(make_model(), groups=groups)


def test_optimizers_are_checked():
    model = make_model()
    with pytest.raises(ValueError, match="`task` must be a keras.optimizers.Optimizer"):
        training.discriminative_optimizer(model, task="adam")
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(ValueError, match="`pyramid` must be .* without a loss scale"):
        training.discriminative_optimizer(model, pyramid=scaled)
    one = keras.optimizers.SGD()
    with pytest.raises(ValueError, match="must have a separate optimizer for each group"):
        training.discriminative_optimizer(model, pyramid=one, task=one)


@pytest.mark.skipif(not KERAS_3, reason="an argument of Keras 3")
def test_a_loss_scale_of_one_group_is_refused():
    with pytest.raises(ValueError, match="must not have a `loss_scale_factor`.* Received: loss_scale_factor=2.0"):
        training.discriminative_optimizer(make_model(), task=keras.optimizers.SGD(loss_scale_factor=2.0))


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="`model` must be a keras.Model that is built"):
        training.discriminative_optimizer(keras.Sequential([layers.LearnableDownsample2D()]))
    with pytest.raises(ValueError, match="`model` must be a keras.Model that is built"):
        training.discriminative_optimizer(layers.LearnablePyramid(2))
