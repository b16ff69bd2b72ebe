"""Draw the figures of the documentation: `python docs/figures`, or `python docs/figures concepts` for one page.

They need `pip install 'tfpyramid[examples]'`; the photographs come with scikit-image. Nothing is downloaded.
"""

import argparse
import importlib
import time

import style

PAGES = ("concepts", "pyramids", "downsampling", "fusion", "selection", "fovea", "motion", "losses")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"which of {', '.join(PAGES)}; all if none is named")
    pages = parser.parse_args().pages or PAGES
    unknown = [name for name in pages if name not in PAGES]
    if unknown:
        parser.error(f"PAGE must be one of {', '.join(PAGES)}. Received: {unknown}")
    style.FOLDER.mkdir(exist_ok=True)
    for name in pages:
        started = time.perf_counter()
        importlib.import_module(name).draw()
        print(f"{name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
