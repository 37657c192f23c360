"""Target domains: strict YAML files into frozen records.

A domain names the classes that a device must tell apart. Its file has the fields ``name``,
``source``, ``classes`` and ``description``, or those of a ``folder`` of images
(``folder_fields``), and nothing else; every mistake in a file is reported at once, each
with line, value and remedy. Only plain YAML is read: no tag ever builds an object.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from workbench.catalog import SOURCES
from workbench.domain_checks import FIELDS, check_values, explain, line_of
from workbench.errors import DataError, DomainError, did_you_mean
from workbench.folder_fields import FOLDER_FIELDS, FolderFields, read_folder_fields
from workbench.folder_files import FOLDER, Folder, user_path
from workbench.strict_yaml import Places, read_mapping

ENVIRONMENT = "WORKBENCH_DOMAINS"


@dataclass(frozen=True)
class Domain:
    """A target domain D_Z.

    Attributes:
        name: the file's name without ``.yaml``.
        source: the data set that the images come from; for a folder, what the records call it.
        classes: at least two different class names of that source; the position of a name is
            its label in the specialised network.
        description: free text.
        path: where it was read from.
        folder: its files, where there is a folder.
        image_size: pixels high and wide of a folder's images; the network's own when None.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    description: str = ""
    path: Path | None = None
    folder: Folder | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"domain '{self.name}' needs two or more different classes")

    def images(self) -> tuple[int, int]:
        """Number of training and of test images that the source has of these classes.

        Of a folder, all files are counted: whether they are images is seen when they are read.
        """
        if self.folder is not None:
            return sum(self.folder.counts("train")), sum(self.folder.counts("test"))
        source = SOURCES[self.source]
        labels = [source.classes.index(name) for name in self.classes]
        return (
            sum(source.train_images[label] for label in labels),
            sum(source.test_images[label] for label in labels),
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: StrictStr
    source: StrictStr
    classes: Annotated[list[StrictStr | Annotated[int, Field(strict=True)]], Field(strict=True)]
    description: StrictStr = ""


class _FolderFile(_File):
    source: StrictStr = FOLDER
    classes: Annotated[
        list[StrictStr | Annotated[int, Field(strict=True)]], Field(strict=True)
    ] = []


def load_domain(path: Path) -> Domain:
    """Read one domain file.

    Raises:
        DomainError: with all that is wrong in the file, one line each.
    """
    raw, place, odd = read_mapping(path, FIELDS)
    own, folders, problems = read_folder_fields(place, raw)
    own_text = {key: value for key, value in raw.items() if key not in FOLDER_FIELDS}
    try:
        file = (_FolderFile if "folder" in raw else _File).model_validate(own_text)
    except ValidationError as error:
        # An odd key or alias may stand for the one that is missing.
        items = [item for item in error.errors() if not (odd and item["type"] == "missing")]
        problems += [explain(place, dict(item)) for item in items]
    problems += check_values(place, raw, folders)
    # What is said of a line is enough: its value would be told as wrong, too.
    told = {line_of(problem) for problem in odd}
    problems = odd + [problem for problem in problems if line_of(problem) not in told]
    if problems:
        raise DomainError(*dict.fromkeys(problems))
    classes = tuple(str(name) for name in file.classes)
    folder = None if own is None else _find_files(place, own, classes if "classes" in raw else None)
    return Domain(
        name=file.name,
        source=file.source,
        classes=classes if folder is None else folder.classes,
        description=" ".join(file.description.split()),
        path=path,
        folder=folder,
        image_size=None if own is None else own.image_size,
    )


def _find_files(place: Places, own: FolderFields, classes: tuple[str, ...] | None) -> Folder:
    try:
        return own.find(classes)
    except DataError as error:
        problems = [f"{place('folder')}: {problem}" for problem in error.problems]
        raise DomainError(*problems) from None


def search_path(folder: Path | None = None) -> list[Path | Any]:
    """Folders in which domains are looked for, first one first.

    ``folder`` (``--domains``), ``$WORKBENCH_DOMAINS``, ``./domains`` and the copies inside the
    installed package.

    Raises:
        DomainError: when a folder that was asked for is not there.
    """
    found: list[Path | Any] = []
    for asked, origin in ((folder, "--domains"), (os.environ.get(ENVIRONMENT), f"${ENVIRONMENT}")):
        if asked:
            if not Path(asked).is_dir():
                raise DomainError(f"{origin} {asked}: no such folder; create it or name another")
            found.append(Path(asked))
    if Path("domains").is_dir():
        found.append(Path("domains"))
    packaged = Path(str(resources.files("workbench") / "domain_files"))
    # In a checkout the package has no copy of its own: its domains stand beside it.
    beside = Path(__file__).parent.parent / "domains"
    found += [place for place in (packaged, beside) if place.is_dir()][:1]
    return list(dict.fromkeys(found))


def domain_files(folder: Path | None = None) -> dict[str, Path]:
    """Every domain file in reach by name, sorted; an earlier folder hides a later one."""
    files: dict[str, Path] = {}
    for place in search_path(folder):
        for path in sorted(place.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def find_domain(name: str, folder: Path | None = None) -> Domain:
    """Load the domain called ``name``.

    Raises:
        DomainError: when there is none, or its file is not valid.
    """
    files = domain_files(folder)
    if name not in files:
        places = ", ".join(str(place) for place in search_path(folder))
        raise DomainError(
            f"no domain '{name}' in {places}{did_you_mean(name, list(files))} "
            "('workbench domains' lists them, 'workbench domains new' writes one)"
        )
    return load_domain(files[name])


def domain_text(name: str, source: str, classes: Sequence[str], description: str = "") -> str:
    """The YAML text of a new domain, opening with the comment that says how to run it.

    Raises:
        DomainError: with all that is wrong, one line each.
    """
    raw = {"source": source, "classes": list(classes)}
    return _text(name, raw, description, f"Classes of {source}", source)


def folder_text(
    name: str, folder: Path, classes: Sequence[str], description: str = "", place: Path = Path()
) -> str:
    """The same for a domain of images in a folder.

    Args:
        folder: as the user wrote it, from the current folder on.
        classes: subfolders; all when empty.
        place: the folder of the domain file.

    Raises:
        DomainError: with all that is wrong, one line each.
    """
    own = FolderFields(user_path(folder))
    chosen = tuple(classes) or None
    found = _find_files(Places(Path(f"{name}.yaml"), None), own, chosen)
    # From where the file really lies: its folder may be a symbolic link.
    path = own.path
    if not path.is_absolute():
        path = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(place)))
    raw: dict[str, Any] = {"folder": path.as_posix()}
    if chosen:
        raw["classes"] = list(found.classes)
    return _text(name, raw, description, f"Subfolders of {path.as_posix()}", "SOURCE")


def _text(name: str, values: dict[str, Any], description: str, what: str, source: str) -> str:
    description = "".join(c if c.isprintable() else " " for c in description)
    description = " ".join(description.split())
    raw = {"name": name, **values, "description": description}
    problems = check_values(Places(Path(f"{name}.yaml"), None), raw)
    if problems:
        raise DomainError(*problems)
    # One field a line; a list of classes on its own.
    flow = None if "classes" in raw else False
    body = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    return (
        f"# {description or 'What this domain is for: one line.'}\n"
        f"# {what}; their order is the order of the network's outputs.\n"
        f"# Run it:  workbench adapt --source {source} --target {name}\n{body}"
    )


def write_domain(folder: Path, name: str, text: str) -> Path:
    """Write a new domain file; an existing one is never overwritten, and a failure leaves nothing.

    Raises:
        DomainError: when the name is taken or the folder cannot be written.
    """
    path = folder / f"{name}.yaml"
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if isinstance(error, FileExistsError) and folder.is_dir():
            problem = f"{path}: is there already; remove it or choose another name"
        else:
            problem = f"{path}: cannot be written ({error.strerror}); name a folder by --domains"
        if made and folder.is_dir():
            folder.rmdir()
        raise DomainError(problem) from None
    return path
