"""Target domains: frozen records read from strict YAML files.

A domain names the classes that a device must tell apart. Its file has the fields ``name``,
``source``, ``classes`` and ``description``, or those of a ``folder`` of images
(``folder_fields``), and nothing else. All mistakes in a file are reported together, each with
line, value and remedy. Only plain YAML is read: a tag never creates an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from workbench.data.catalog import SOURCES
from workbench.data.folder_files import FOLDER, Folder
from workbench.domains.checks import FIELDS, check_values, explain
from workbench.domains.folder_fields import FOLDER_FIELDS, FolderFields, read_folder_fields
from workbench.domains.strict_yaml import FileKind, Places, line_of, read_mapping
from workbench.errors import DataError, DomainError

_KIND = FileKind(
    noun="domain file",
    fields=FIELDS,
    needs=", ".join(FIELDS[:3]),
    made_by="'workbench domains new' writes one",
    example="'workbench domains show S2'",
    error=DomainError,
)


@dataclass(frozen=True)
class Domain:
    """A target domain D_Z.

    Attributes:
        name: the file's name without ``.yaml``.
        source: the data set that the images come from; for a folder, its name in the records.
        classes: at least two different class names of that source; the position of a name is
            its label in the specialised network.
        description: free text.
        path: the file that it was read from.
        folder: the files of its image folder, if it has one.
        image_size: height and width in pixels of a folder's images; None for the network's own.
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
        """Number of training and of test images of these classes in the source.

        For a folder, all files are counted: only reading them shows whether they are images.
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
        DomainError: with all problems in the file, one line each.
    """
    raw, place, odd = read_mapping(path, _KIND)
    own, folders, problems = read_folder_fields(place, raw)
    own_text = {key: value for key, value in raw.items() if key not in FOLDER_FIELDS}
    try:
        file = (_FolderFile if "folder" in raw else _File).model_validate(own_text)
    except ValidationError as error:
        # An unreadable key or an alias may be the one that is missing.
        items = [item for item in error.errors() if not (odd and item["type"] == "missing")]
        problems += [explain(place, dict(item)) for item in items]
    problems += check_values(place, raw, folders)
    # One report per line is enough: the value of a reported line is usually wrong, too.
    reported_lines = {line_of(problem) for problem in odd}
    problems = odd + [problem for problem in problems if line_of(problem) not in reported_lines]
    if problems:
        raise DomainError(*dict.fromkeys(problems))
    classes = tuple(str(name) for name in file.classes)
    folder = None if own is None else find_files(place, own, classes if "classes" in raw else None)
    return Domain(
        name=file.name,
        source=file.source,
        classes=classes if folder is None else folder.classes,
        description=" ".join(file.description.split()),
        path=path,
        folder=folder,
        image_size=None if own is None else own.image_size,
    )


def find_files(place: Places, own: FolderFields, classes: tuple[str, ...] | None) -> Folder:
    """Find the files of a domain's folder.

    Raises:
        DomainError: with the problems of the folder, at their place in the domain file.
    """
    try:
        return own.find(classes)
    except DataError as error:
        problems = [f"{place('folder')}: {problem}" for problem in error.problems]
        raise DomainError(*problems) from None
