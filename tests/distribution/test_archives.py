"""The archives that a release uploads: what they hold, and that they work without the checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Neither is of use outside the repository.
NOT_IN_SDIST = {".gitignore"}


def run(*command, folder, **environment):
    """Run a command and return its output; it must succeed."""
    command = [str(part) for part in command]
    environment = {**os.environ, "PYTHONPATH": "", **environment}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The paths of the sdist and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def source(archives, tmp_path_factory):
    """The folder of the unpacked sdist."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


@pytest.fixture(scope="module")
def python(archives, tmp_path_factory):
    """The interpreter of a new environment that has the wheel, and the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    purelib = run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
    # Python does not read the .pth files of a folder that a .pth file adds, so the checkout is not importable.
    (Path(purelib.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", archives[1], folder=folder)
    return interpreter


def test_a_package_index_accepts_both(archives):
    run(sys.executable, "-m", "twine", "check", "--strict", *archives, folder=ROOT)


def test_the_sdist_holds_every_file_of_the_repository(source):
    tracked = set(run("git", "ls-files", folder=ROOT).splitlines()) - NOT_IN_SDIST
    assert not sorted(name for name in tracked if not (source / name).is_file())


def test_the_wheel_holds_the_package_alone(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        folders = {name.split("/")[0] for name in wheel.namelist()}
    assert sorted(folders) == ["tfpyramid", archives[1].name.rsplit("-", 3)[0] + ".dist-info"]


def test_the_links_of_the_description_are_absolute(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        text = wheel.read(name).decode()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and all(link.startswith("https://") for link in links), links


def test_the_wheel_runs_the_quickstart_outside_the_checkout(python, source, tmp_path):
    where = "import tfpyramid; print(tfpyramid.__file__)"
    assert str(python.parents[1]) in run(python, "-c", where, folder=tmp_path)
    run(python, source / "examples" / "quickstart.py", "--quick", "--output", "out", folder=tmp_path)
    assert (tmp_path / "out" / "quickstart.png").stat().st_size > 10_000


def test_the_unpacked_sdist_passes_its_tests(source):
    tests = [
        "tests/test_public_api.py",
        "tests/test_import_order.py",
        "tests/test_main.py",
        "tests/layers/test_pyramids.py",
    ]
    run(sys.executable, "-m", "pytest", "-q", *tests, folder=source)
