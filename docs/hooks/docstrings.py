"""Griffe extension: the section "Example:" of a docstring is the section that Griffe calls "Examples:"."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
