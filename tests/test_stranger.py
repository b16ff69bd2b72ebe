"""Files by strangers: what they carry in our layers and models is refused, and nothing of it runs."""

import copy
import json
import pathlib
import re
import zipfile

import numpy as np
import pytest

import tfpyramid
from tests.layer_cases import CASES
from tfpyramid import layers, losses, models, training
from tfpyramid._compat import KERAS_3, keras

REFUSED = (
    "Requested the deserialization of a (Python )?`?[Ll]ambda|Could not (locate|deserialize|interpret)"
    "|Cannot deserialize|Unknown |class is missing a `from_config|Expected 'config' to be"
    "|must be (an instance of )?(class Layer|keras)|should only be used for objects of type `keras"
    "|must be the name of (an initializer|a regularizer|a loss) of Keras|must be the name of a Keras loss"
    "|must map names to instances of keras"
)


def serialize(thing):
    return keras.saving.serialize_keras_object(thing)


def strangers(marker):
    """Return configurations that a stranger may put in the place of an object; what can run makes the file `marker`."""

    def foreign(module, class_name, config, registered_name=None):
        return {"module": module, "class_name": class_name, "config": config, "registered_name": registered_name}

    layer = serialize(keras.layers.Lambda(lambda x, path=str(marker): (open(path, "w").close(), x)[1]))
    ran = serialize(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()]))
    (place,) = (path for path in places(ran) if at(ran, path)["class_name"] == "ReLU")
    function = layer["config"]["function"]
    return {
        "Lambda": layer,
        "Lambda of old": {"class_name": "Lambda", "config": layer["config"]},
        "Lambda in a model": put(ran, place, layer),
        "lambda": function if KERAS_3 else {"class_name": "__lambda__", "config": {"value": function}},
        "system": foreign("os", "system", {"command": f"touch {marker}"}),
        "function of os": foreign("os", "function", "system", "system"),
        "exec": foreign("builtins", "exec", f"open({str(marker)!r}, 'w')"),
        "class of Python": foreign("subprocess", "Popen", {"args": ["touch", str(marker)]}),
        "unknown class": foreign(None, "Evil", {"name": "evil"}, "stranger>Evil"),
    }


def places(config, path=()):
    """Yield the path of every object inside a configuration."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        if isinstance(value, dict) and "class_name" in value and "config" in value:
            yield (*path, key)
        yield from places(value, (*path, key))


def at(config, path):
    for key in path:
        config = config[key]
    return config


def put(config, path, value):
    """Return a copy of `config` with `value` at `path`."""
    result = copy.deepcopy(config)
    at(result, path[:-1])[path[-1]] = copy.deepcopy(value)
    return result


def vlm(objective="value"):
    return models.pyramid_vlm(9, 3, objective=objective, input_shape=(16, 16, 3))


def optimized():
    """Return a model with a nested layer, and an optimizer that holds two."""
    image = keras.Input((8, 8, 3), name="image")
    levels = layers.LearnablePyramid(2, layers.AntiAliasedDownsample2D(), name="pyramid")(image)
    fused = layers.UpsampleConcat()(layers.PerLevel(keras.layers.Conv2D(2, 1))(levels))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(fused))
    model.compile(training.discriminative_optimizer(model), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def asked():
    vectorization = keras.layers.TextVectorization(vocabulary=["what", "color", "shape"])
    return models.with_text_input(vlm(), vectorization)


def holders():
    """Return, by name, what of ours holds other objects: a configuration, where one is in it, and what loads it."""
    made = {type(layer).__name__: layer for layer in (case.make() for case in CASES)}
    made["MultiScaleLoss"] = losses.MultiScaleLoss(keras.losses.Huber())
    made["GroupedOptimizer"] = optimized().optimizer
    made["PyramidVLM"], made["CascadeVLM"] = vlm(), vlm("cascade")
    found = {}
    for name, each in made.items():
        config = serialize(each)
        load = type(each).from_config
        # What is deeper in it is held by something else; a dtype is Keras's own affair.
        own = [path for path in places(config) if len(path) <= 3 and path[-1] != "dtype"]
        found.update({f"{name} {path[1]}": (config, path, load) for path in own[:: max(len(own) - 1, 1)]})
    return found


HOLDERS = holders()


def test_all_that_hold_layers_are_here():
    held = {name.split()[0] for name, (_, path, _) in HOLDERS.items() if path[-1] != "kernel_initializer"}
    assert {"AdaptiveDepthPyramid", "LearnablePyramid", "LevelRouter", "PerLevel", "PyramidVLM"} <= held
    assert {"GroupedOptimizer", "MultiScaleLoss"} <= held


@pytest.mark.slow
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_stranger_puts_inside_is_refused_and_does_not_run(holder, tmp_path):
    config, place, from_config = HOLDERS[holder]
    for what, stranger in strangers(tmp_path / "marker").items():
        changed = put(config, place, stranger)
        assert refused(keras.saving.deserialize_keras_object, changed, place), what
        assert refused(from_config, changed["config"], place), what
        assert not (tmp_path / "marker").exists(), what


def refused(load, config, place):
    """Tell whether `load` refuses a configuration, as clearly as this Keras can."""
    try:
        load(config)
    except (TypeError, ValueError) as error:
        return re.search(REFUSED, str(error))
    return None


@pytest.mark.parametrize(
    "make, victim", [(optimized, "AntiAliasedDownsample2D"), (optimized, "Adam"), (vlm, "Conv2D"), (asked, "Conv2D")]
)
@pytest.mark.slow
def test_a_file_of_ours_loads_in_safe_mode_and_a_lambda_in_it_is_refused(make, victim, tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(getattr(loaded, "optimizer", None)) is type(getattr(model, "optimizer", None))
    for weight, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    inside = next(path for path in places(config) if at(config, path)["class_name"] == victim)
    for what in ("Lambda", "system", "unknown class"):
        changed = put(config, inside, strangers(tmp_path / "marker")[what])
        with zipfile.ZipFile(tmp_path / "stranger.keras", "w") as archive:
            for name, content in {**files, "config.json": json.dumps(changed)}.items():
                archive.writestr(name, content)
        with pytest.raises((TypeError, ValueError), match=REFUSED):
            keras.models.load_model(tmp_path / "stranger.keras")
        assert not (tmp_path / "marker").exists()


def test_none_of_our_sources_turns_safe_mode_off():
    for path in pathlib.Path(tfpyramid.__file__).parent.rglob("*.py"):
        assert not re.search("safe_mode|unsafe_deserialization", path.read_text()), path


def test_the_lambda_would_leave_its_mark_if_it_ran(tmp_path):
    config, place, _ = HOLDERS["PerLevel layer"]
    trusted = put(config, place, strangers(tmp_path / "marker")["Lambda"])
    layer = keras.saving.deserialize_keras_object(trusted, safe_mode=False)
    layer([np.ones([1, 4, 4, 3], np.float32)])
    assert (tmp_path / "marker").exists()
