"""docs/architecture.md against the tree: packages, the modules that it names, and the contract."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
ROOT = PACKAGE.parent
PAGE = ROOT / "docs/architecture.md"
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

#: Folders of tests that belong to no package: faults, and damaged files.
WHOLE = {"chaos", "fuzz"}

needs_checkout = pytest.mark.skipif(not PAGE.is_file(), reason="needs the docs of a checkout")


@needs_checkout
def test_the_table_lists_the_packages_that_there_are():
    table = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(table) == PACKAGES
    assert len(PACKAGES) <= 12
    modules = {path.name for path in PACKAGE.glob("*.py")}
    assert modules == {"__init__.py", "__main__.py", "errors.py"}


@needs_checkout
def test_the_page_lists_the_rooms_that_there_are_in_an_order_that_the_contracts_allow():
    table = re.findall(r"^\| `(\w+)/(\w+)/` \|", PAGE.read_text(), re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for package in ("adaptation", "compression"):
        rooms = [room for owner, room in table if owner == package]
        folders = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
        assert sorted(rooms) == sorted(folders)
        layers = next(
            each["layers"]
            for each in contracts["contracts"]
            if each.get("containers") == [f"workbench.{package}"]
        )
        level = {name.strip(): at for at, row in enumerate(layers) for name in row.split("|")}
        assert [level[room] for room in rooms] == sorted(level[room] for room in rooms)


@needs_checkout
def test_every_module_that_the_page_names_is_there():
    named = re.findall(r"`((?:\w+/)+\w*(?:\.py)?)`", PAGE.read_text())
    assert len(named) > 20
    missing = [name for name in named if not (PACKAGE / name).exists() and name != "workbench/"]
    assert missing == []


@needs_checkout
def test_the_contract_has_at_most_twelve_layers_in_the_order_of_the_table():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    assert contract["type"] == "layers"
    assert len(contract["layers"]) <= 12
    order = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    table = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(), re.MULTILINE)
    assert [name for name in order if name in table] == table


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_what_lives_there(name):
    text = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text()))
    assert text
    if name != "cli":
        assert len(text) > 150, "what lives there, what to import, what it must not know"


@needs_checkout
def test_the_tests_mirror_the_packages():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == {*PACKAGES, *WHOLE}
