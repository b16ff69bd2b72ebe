"""Every check, for every layer in every configuration of the table.

`make test` runs most checks on the first case of each layer, and the checks of milliseconds on all cases.
"""

import inspect

import pytest

from tests.check_layer import CHECKS
from tests.layer_cases import CASES, case_id
from tfpyramid import layers, losses

LAYERS = {name: getattr(layers, name) for name in layers.__all__} | {"PyramidDiversity": losses.PyramidDiversity}

FIRST = {case.layer: case for case in reversed(CASES)}
QUICK = ("config", "reference")
SLOW = ("training", "xla")


def row(check, case):
    quick = check in QUICK or (case is FIRST[case.layer] and check not in SLOW)
    slow = () if quick else pytest.mark.slow
    return pytest.param(check, case, id=f"{check}-{case_id(case)}", marks=slow)


@pytest.mark.parametrize("check, case", [row(check, case) for check in CHECKS for case in CASES])
@pytest.mark.no_cover  # Coverage costs a minute here, and would count code that no other test reaches.
def test_conformance(check, case, readers, tmp_path):
    CHECKS[check](case, readers, tmp_path)


def test_ids_are_unique():
    ids = [case_id(case) for case in CASES]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", LAYERS)
def test_every_public_layer_has_a_case_and_every_argument_is_varied(name):
    configs = [case.make().get_config() for case in CASES if case.layer is LAYERS[name]]
    assert configs, f"{name} has no case"
    arguments = set()
    for cls in LAYERS[name].__mro__:
        if cls.__module__.startswith("tfpyramid") and "__init__" in vars(cls):
            parameters = inspect.signature(cls.__init__).parameters.values()
            arguments |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    # "channels_last" is the only valid value; the tests of errors try others.
    arguments -= {"self", "data_format"}
    for argument in sorted(arguments):
        values = {repr(config[argument]) for config in configs}
        assert len(values) > 1, f"{name}: every case has {argument}={values.pop()}"
