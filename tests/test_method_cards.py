"""Every method has a card at the top of its file, and a row in docs/methods.md."""

import ast
import re
from pathlib import Path

import pytest

import workbench
from workbench.compression.method_names import METHODS

PACKAGE = Path(workbench.__file__).parent
#: The card's module, where it is not called like the method.
CARDS = {"pfa-kl": "kl", "pfa-en": "energy", "repr": "repr_overlap", "dalr-en": "dalr"}
PARTS = ("Idea:", "Formula:", "Cost:", "When it does not help:")


def card_of(method):
    module = CARDS.get(method, method.replace("-", "_"))
    texts = [
        ast.get_docstring(ast.parse(path.read_text())) for path in PACKAGE.rglob(f"{module}.py")
    ]
    return next((text for text in texts if text and "(method card" in text), "")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_card(method):
    missing = [part for part in PARTS if part not in card_of(method)]
    assert not missing, f"the card of {method} lacks {missing}"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_row_in_the_documentation(method):
    page = (PACKAGE.parent / "docs/methods.md").read_text()
    row = re.search(rf"^\| `{re.escape(method)}`[^|]*\|(.*)\|$", page, re.MULTILINE)
    assert row, f"docs/methods.md has no row for {method}"
    assert all(cell.strip() for cell in row.group(1).split("|"))
