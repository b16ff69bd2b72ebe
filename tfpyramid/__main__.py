"""Print what a bug report needs: versions, the flavour of Keras, devices, and the optional packages that are installed.

Run as `python -m tfpyramid`. It never raises: a line whose subject cannot be imported shows the error instead. The exit
status is 1 if tfpyramid itself cannot be imported.
"""

import importlib
import platform
import sys
import traceback
from collections.abc import Callable
from importlib import metadata

from tfpyramid import __version__

# The package that each extra of setup.cfg adds to a plain installation.
OPTIONAL = {
    "visualize": "matplotlib",
    "scale": "ome-zarr",
    "beam": "apache-beam",
    "serving": "tensorflow-serving-api",
    "legacy": "tf-keras",
    "addons": "tensorflow-addons",
}


def main() -> int:
    """Print the report and return the exit status."""
    failure = _describe(_import)
    lines = {
        "tfpyramid": f"{__version__}, which cannot be imported: {failure}" if failure else __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "TensorFlow": _describe(_tensorflow),
        "Keras": _describe(_keras),
        "NumPy": _describe(lambda: metadata.version("numpy")),
        "devices": _describe(_devices),
        **{f"[{extra}]": _optional(extra, package) for extra, package in OPTIONAL.items()},
    }
    print("\n".join(f"{name:<12}{text}" for name, text in lines.items()), flush=True)
    return 1 if failure else 0


def _import() -> str:
    importlib.import_module("tfpyramid.layers")
    return ""


def _tensorflow() -> str:
    return importlib.import_module("tensorflow").version.VERSION


def _keras() -> str:
    compat = importlib.import_module("tfpyramid._compat")
    return f"{compat.keras.__version__}, imported as {compat.keras.__name__.split('.')[0]}"


def _devices() -> str:
    devices = importlib.import_module("tensorflow").config.list_physical_devices()
    return ", ".join(device.name.removeprefix("/physical_device:") for device in devices)


def _optional(extra: str, package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} is not installed: pip install 'tfpyramid[{extra}]'"


def _describe(describe: Callable[[], str]) -> str:
    try:
        return describe()
    except Exception as error:  # A broken installation may raise anything.
        return _one_line(error)


def _one_line(error: Exception) -> str:
    """Return an error as Python prints it, without its traceback and its line breaks."""
    return " ".join("".join(traceback.format_exception_only(error)).split())


if __name__ == "__main__":
    sys.exit(main())
