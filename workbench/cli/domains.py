"""``workbench domains``: list, show, check and write domain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import tell
from workbench.cli.options import takes
from workbench.errors import DomainError, SettingsError

app = typer.Typer(invoke_without_command=True)


@app.callback(invoke_without_command=True)
@takes("domains", "data_dir")
def domains(context: typer.Context, **chosen: Any) -> None:
    """List the domains in reach; show, check and write domain files.

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
    from workbench.data.location import data_folder, is_present
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
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        tell("  ".join(cells).rstrip())
    if any(row[3] == "-" for row in rows):
        tell("- : the images are not on this machine yet; 'workbench adapt' downloads them")
    if problems:
        raise DomainError(*problems)


@app.command("show")
@takes("domains")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Domain to show.")],
    **chosen: Any,
) -> None:
    """Print a domain and the file that it comes from.

    \b
    Example:
      workbench domains show S2
    """
    from workbench.domains.search import find_domain

    domain = find_domain(name, chosen["domains"] or context.obj)
    train, test = domain.images()
    tell(f"name:         {domain.name}")
    if domain.folder:
        tell(f"folder:       {domain.folder.path}")
        tell(f"image size:   {domain.image_size or 'that of the network'}")
    else:
        tell(f"source:       {domain.source}")
    tell(f"classes:      {', '.join(domain.classes)}")
    tell(f"images:       {train:,} for training, {test:,} for testing")
    tell(f"description:  {domain.description or '-'}")
    tell(f"file:         {domain.path}")
    source = "SOURCE" if domain.folder else domain.source
    tell(f"run it:       workbench adapt --source {source} --target {domain.name}")
    if domain.folder:
        tell("              SOURCE: the data set, or folder, that the network was trained on")


@app.command("check")
def check(paths: Annotated[list[Path], typer.Argument(help="Domain files to check.")]) -> None:
    """Check domain files; every mistake of every file is told.

    \b
    Example:
      workbench domains check domains/S2.yaml
    """
    from workbench.domains.domain import load_domain

    problems: list[str] = []
    for path in paths:
        try:
            load_domain(path)
            tell(f"{path}: ok")
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
        str | None, typer.Option(help="Data set of the images: digits, cifar10, cifar100.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the images, a subfolder for each class.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names, comma-separated. (default: all of the folder)")
    ] = None,
    description: Annotated[str, typer.Option(help="What the domain is for.")] = "",
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
        raise SettingsError(f"--classes '{classes}' names none; name some, or leave it out")
    place = chosen["domains"] or context.obj or Path("domains")
    if folder is not None:
        if source is not None:
            raise SettingsError("--source beside --folder: the images come from one; leave one out")
        text = folder_text(name, folder, names, description, place)
    else:
        _demand(source=source, classes=classes)
        text = domain_text(name, str(source), names, description)
    path = write_domain(place, name, text)
    run = f"workbench adapt --source {source or 'SOURCE'} --target {name}"
    tell(f"{path}: written; run it:  {run}")


def _demand(**options: str | None) -> None:
    """What a parser says of options that only a folder makes needless."""
    missing = [name for name, value in options.items() if value is None]
    said = "Missing option '--{}'. (see 'workbench domains new --help')"
    if missing:
        raise SettingsError(*(said.format(name) for name in missing))
