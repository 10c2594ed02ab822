"""For the documentation: docstrings in the form that its parser knows."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrites the habits of this project's docstrings that the parser does not share.

    `Example:` is a section of examples; `x, y: Coordinates.` says the same of both; and a default
    stands in the signature already.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each class, function, attribute and module that was found."""
        if obj.docstring:
            text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
            text = re.sub(r"(?m)^(    \w+: .*) Defaults to .*\.$", r"\1", text)
            obj.docstring.value = re.sub(
                r"(?m)^    (\w+(?:, \w+)+): (.*(?:\n     +.*)*)",
                lambda found: "\n".join(f"    {n}: {found[2]}" for n in found[1].split(", ")),
                text,
            )

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called for each attribute."""
        # What Python says of the default of a dataclass's field is what it says of any string.
        if not attr.has_labels("property"):
            attr.docstring = None
