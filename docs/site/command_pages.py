"""MkDocs hook: one page for each command of the command line, generated from its options."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator

from generated_entries import put_pages
from mkdocs.structure.files import File, Files
from typer.main import get_command

from workbench.cli.commands import app

#: Entry of the navigation in mkdocs.yml that this hook replaces by the pages.
PLACE = "commands/"


def on_config(config):
    """Put the generated pages into the navigation."""
    pages = [f"{PLACE}index.md", *(f"{PLACE}{name}.md" for name in _commands())]
    put_pages(config.nav, PLACE, pages)
    return config


def on_files(files: Files, config) -> Files:
    """Add the pages."""
    rows = ["# Commands", "", "| command | purpose |", "|---|---|"]
    for name, command in _commands().items():
        summary = _paragraphs(command)[0]
        rows.append(f"| [`workbench {name}`]({name}.md) | {_cell(summary)} |")
        page = "\n".join(_page(f"workbench {name}", command, "#"))
        files.append(File.generated(config, f"{PLACE}{name}.md", content=page))
    content = "\n".join(rows) + "\n"
    files.append(File.generated(config, f"{PLACE}index.md", content=content))
    return files


def _commands() -> dict:
    return get_command(app).commands


def _page(name: str, command, level: str) -> Iterator[str]:
    """Lines about one command: its help, arguments, options by panel, and subcommands."""
    yield f"{level} {name}"
    yield ""
    for paragraph in _paragraphs(command):
        yield from (paragraph, "")
    panels: dict[str, list] = defaultdict(list)
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            is_argument = parameter.param_type_name == "argument"
            panel = "Arguments" if is_argument else parameter.rich_help_panel or "Options"
            panels[panel].append(parameter)
    for title, parameters in panels.items():
        yield f"{level}# {title}"
        yield ""
        yield "| name | meaning | default |"
        yield "|---|---|---|"
        yield from (_row(parameter) for parameter in parameters)
        yield ""
    for child, below in getattr(command, "commands", {}).items():
        yield from _page(f"{name} {child}", below, f"{level}#")


def _row(parameter) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name}`"
    else:
        names = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default in (None, "", False) or callable(default):
        shown = ""
    else:
        shown = f"`{default}`"
    return f"| {names} | {_cell(parameter.help or '')} | {shown} |"


def _paragraphs(command) -> list[str]:
    """Paragraphs of a command's help; a block that click must not wrap becomes a shell block."""
    paragraphs = []
    for text in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        lines = text.replace("\b", "").strip("\n").splitlines()
        if "\b" not in text:
            paragraphs.append(" ".join(lines))
            continue
        paragraphs.append(lines[0])
        paragraphs.append("```sh\n" + inspect.cleandoc("\n".join(["", *lines[1:]])) + "\n```")
    return paragraphs


def _cell(text: str) -> str:
    """Text in a cell of a table, with its Markdown characters escaped."""
    return re.sub(r"([|*_<>\[\]])", r"\\\1", " ".join(text.split()))
