"""``workbench domains``: list, show, check and write domain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line, print_table, terminal_width
from workbench.cli.options import takes
from workbench.errors import DomainError, SettingsError

app = typer.Typer(invoke_without_command=True)


@app.callback(invoke_without_command=True)
@takes("domains", "data_dir")
def domains(context: typer.Context, **chosen: Any) -> None:
    """List the available domains; show, check and write domain files.

    \b
    Examples:
      workbench domains
      workbench domains show S2
      workbench domains new pets --source cifar10 --classes cat,dog
      workbench domains new tools --folder photos/tools
    """
    if context.invoked_subcommand is not None:
        context.obj = chosen["domains"]
        return
    from workbench.data.data_folder import data_folder, is_present
    from workbench.domains.domain import load_domain
    from workbench.domains.search import domain_files

    folder = data_folder(chosen["data_dir"])
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    for path in domain_files(chosen["domains"]).values():
        try:
            domain = load_domain(path)
        except DomainError as error:
            problems += error.problems
            continue
        here = is_present(domain.source, folder)
        counts = [f"{number:,}" for number in domain.images()] if here else ["-", "-"]
        rows.append((domain.name, domain.source, str(len(domain.classes)), *counts))
    header = ("domain", "source", "classes", "train images", "test images")
    _print_rows(header, rows)
    if any(row[3] == "-" for row in rows):
        print_line("-: the images are not on this machine; 'workbench adapt' downloads them")
    if problems:
        raise DomainError(*problems)


def _print_rows(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print aligned lines, or a smaller table if the terminal is too narrow for them."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    longest = sum(widths) + 2 * (len(widths) - 1)
    if (terminal_width() or longest) < longest:
        print_table("", header, rows, elsewhere="'workbench domains show'")
        return
    for row in [header, *rows]:
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print_line("  ".join(cells).rstrip())


@app.command("show")
@takes("domains")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Domain to show.")],
    **chosen: Any,
) -> None:
    """Print a domain and the path of its file.

    \b
    Example:
      workbench domains show S2
    """
    from workbench.domains.search import find_domain

    domain = find_domain(name, chosen["domains"] or context.obj)
    train, test = domain.images()
    print_line(f"name:         {domain.name}")
    if domain.folder:
        print_line(f"folder:       {domain.folder.path}")
        print_line(f"image size:   {domain.image_size or 'that of the network'}")
    else:
        print_line(f"source:       {domain.source}")
    print_line(f"classes:      {', '.join(domain.classes)}")
    print_line(f"images:       {train:,} for training, {test:,} for testing")
    print_line(f"description:  {domain.description or '-'}")
    print_line(f"file:         {domain.path}")
    source = "SOURCE" if domain.folder else domain.source
    print_line(f"run it:       workbench adapt --source {source} --target {domain.name}")
    if domain.folder:
        print_line("              SOURCE: the data set, or folder, that the network was trained on")


@app.command("check")
def check(paths: Annotated[list[Path], typer.Argument(help="Domain files to check.")]) -> None:
    """Check domain files and report all mistakes in all of them.

    \b
    Example:
      workbench domains check domains/S2.yaml
    """
    from workbench.domains.domain import load_domain

    problems: list[str] = []
    for path in paths:
        try:
            load_domain(path)
            print_line(f"{path}: ok")
        except DomainError as error:
            problems += error.problems
    if problems:
        raise DomainError(*problems)


@app.command("new")
@takes("domains")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new domain.")],
    source: Annotated[
        str | None,
        typer.Option(help="Data set that the images come from: digits, cifar10, cifar100."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of images with a subfolder for each class, instead of --source."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names, comma-separated. (default: all classes of the folder)"),
    ] = None,
    description: Annotated[str, typer.Option(help="Description of the domain.")] = "",
    **chosen: Any,
) -> None:
    """Write a new domain file; an existing one is not overwritten.

    \b
    Examples:
      workbench domains new pets --source cifar10 --classes cat,dog
      workbench domains new tools --folder photos/tools
    """
    from workbench.domains.new_files import domain_text, folder_text, write_domain

    names = [part.strip() for part in (classes or "").split(",") if part.strip()]
    if folder is not None and classes is not None and not names:
        raise SettingsError(
            f"--classes '{classes}' contains no name; name classes, or leave it out"
        )
    place = chosen["domains"] or context.obj or Path("domains")
    if folder is not None:
        if source is not None:
            raise SettingsError("--source and --folder exclude each other; leave one out")
        text = folder_text(name, folder, names, description, place)
    else:
        _demand(source=source, classes=classes)
        text = domain_text(name, str(source), names, description)
    path = write_domain(place, name, text)
    run = f"workbench adapt --source {source or 'SOURCE'} --target {name}"
    print_line(f"{path}: written; run it:  {run}")


def _demand(**options: str | None) -> None:
    """Require options that are optional only with ``--folder``.

    Raises:
        SettingsError: with the parser's message for each missing option.
    """
    missing = [name for name, value in options.items() if value is None]
    text = "Missing option '--{}'. (see 'workbench domains new --help')"
    if missing:
        raise SettingsError(*(text.format(name) for name in missing))
