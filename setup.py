"""Metadata that is computed; everything else is in setup.cfg."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def long_description() -> str:
    """Return README.md with absolute links, because a package index shows it without the repository around it."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(ROOT / "setup.cfg")
    repository = metadata["metadata"]["url"]

    def absolute(link: re.Match) -> str:
        picture, label, target = link.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{label}]({repository}/{kind}/main/{target})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)", absolute, text)


setup(long_description=long_description(), long_description_content_type="text/markdown")
