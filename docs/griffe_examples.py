"""An extension of griffe: sections `Example:` of docstrings are shown as code, as sections `Examples:` are."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Renames the sections before docstrings are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
