"""README and docs: links lead somewhere, and every documented command line parses."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import workbench
from workbench.cli.commands import app

ROOT = Path(workbench.__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
PAGES = sorted([*PAGES, *ROOT.glob("examples/*.md")])
PAGES = [page for page in PAGES if page.is_file() and page.parent.name != "notes"]


def names(pages):
    return [page.relative_to(ROOT).as_posix() for page in pages]


def command_lines(text):
    """The ``workbench`` calls in the shell blocks of a page, without comments and pipes."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["workbench"]:
                yield words[1 : words.index("|")] if "|" in words else words[1:]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    missing = [
        target for target in targets
        if not target.startswith("http") and not (page.parent / target).exists()
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_nothing_is_left_of_a_merge(page):
    assert not re.search(r"^(<{7}|>{7}) ", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_documented_commands_parse(page):
    root = get_command(app)
    for words in command_lines(page.read_text()):
        command, rest = root.commands[words[0]], words[1:]
        if rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context("workbench", list(rest))  # raises when it does not parse


def test_the_readme_is_short():
    page = ROOT / "README.md"
    if page.is_file():
        assert len(page.read_text().splitlines()) <= 150
