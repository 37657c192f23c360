"""Griffe extension: an entry "kept, removed: indices" of a docstring becomes one entry a name.

Griffe would read the first name with a comma as the name, and the second one as its type.
"""

import re

import griffe

_ENTRY = re.compile(
    r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)",
    re.MULTILINE,
)


class OneNameALine(griffe.Extension):
    """Rewrites the docstrings of all objects."""

    def on_object(self, *, obj, **kwargs) -> None:
        """Split the entries of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = split_entries(obj.docstring.value)


def split_entries(text: str) -> str:
    """Give each name of an entry a copy of the description."""

    def split(match: re.Match) -> str:
        names = match["names"].split(", ")
        return "\n".join(f"{match['indent']}{name}: {match['text']}" for name in names)

    return _ENTRY.sub(split, text)
