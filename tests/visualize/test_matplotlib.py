"""matplotlib is optional: only drawing imports it, and no figure changes its global state."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot

from tfpyramid import visualize

FIGURES = [name for name in visualize.__all__ if name.startswith("show_")]
CALLS = {
    "show_cost_curve": ({"cascade": (None, [0.5, 0.9], [0.1, 1.0])},),
    "show_fixations": (np.zeros([1, 4, 4, 3]), np.zeros([1, 2]), 2, 2),
    "show_flow": (np.ones([3, 4, 2]),),
    "show_gates": (np.ones([3]),),
    "show_gradient_norms": ({"gradient_norm/pyramid/level_1": [2.0, 1.0]},),
    "show_kernels": ({"box": np.ones([2, 2])},),
    "show_level_weights": (np.ones([3]),),
    "show_pyramid": ([np.zeros([4, 4])],),
    "show_sampling_grid": (np.zeros([4, 4]), np.zeros([2, 2, 2])),
    "show_strides": (np.ones([3, 2]),),
}


@pytest.mark.slow
def test_the_package_imports_without_it():
    code = "import sys; sys.modules['matplotlib'] = None; import tfpyramid; assert tfpyramid.visualize.show_kernels"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", FIGURES)
def test_without_it_an_error_says_what_to_install(name, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"matplotlib.*pip install 'tfpyramid\[visualize\]'"):
        getattr(visualize, name)(*CALLS[name])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_saved_and_not_registered_with_pyplot(name, tmp_path):
    figure = getattr(visualize, name)(*CALLS[name])
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not pyplot.get_fignums()


def test_every_function_is_called_here():
    assert set(CALLS) == set(FIGURES)
