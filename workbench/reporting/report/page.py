"""A page as plain data. Text is plain text everywhere: ``html`` escapes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is shown.
        sort: number by which the column is sorted; None sorts by the text.
    """

    text: str
    sort: float | None = None


@dataclass(frozen=True)
class Table:
    """A table; its columns can be sorted if there is more than one row.

    Attributes:
        caption: names the table for screen readers and is shown above it.
        rows: one cell for each column; the first one names the row.
        marked: index of a row to emphasise; None for none.
        folded: whether the table is hidden until the reader opens it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: int | None = None
    folded: bool = False

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.caption}: a row has not {len(self.columns)} cells")

    @property
    def words(self) -> frozenset[int]:
        """Places of the columns that hold no numbers."""
        places = range(len(self.columns))
        return frozenset(n for n in places if all(row[n].sort is None for row in self.rows))


@dataclass(frozen=True)
class View:
    """One of the data sets that a chart can show.

    Attributes:
        label: name of the data set, for the chooser.
        rows: the data of the chart.
        x_title, y_title: titles of the axes, if they depend on the choice; else empty.
    """

    label: str
    rows: Sequence[Row]
    x_title: str = ""
    y_title: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, with a chooser if it has several views.

    Attributes:
        description: what the chart shows, for screen readers and as its caption.
        spec: Vega-Lite specification without data.
        views: at least one.
        chooser: what the reader chooses, such as "Cost"; empty with one view.
        group: charts and pictures of one group share one chooser; empty for a chooser of its own.
    """

    description: str
    spec: Mapping[str, Any]
    views: Sequence[View]
    chooser: str = ""
    group: str = ""


@dataclass(frozen=True)
class Picture:
    """A small picture.

    Attributes:
        png: content of a PNG file.
        alt: what it shows, in words.
        lines: text under the picture.
        width: pixels of the page.
    """

    png: bytes
    alt: str
    lines: Sequence[str] = ()
    width: int = 96


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other.

    Attributes:
        title: heading of the group.
        pictures: at least one.
        group, choice: shown only while the group's chooser has this choice; empty for always.
    """

    title: str
    pictures: Sequence[Picture]
    group: str = ""
    choice: str = ""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        label: the network.
        classes: names of the rows and columns.
        counts: one row for each class of the images, one column for each answer.
        remark: about the matrix, such as classes that are left out.
    """

    label: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    remark: str = ""


@dataclass(frozen=True)
class MatrixPair:
    """Two confusion matrices beside each other, each with a chooser.

    Attributes:
        matrices: all that can be chosen.
        left, right: indices of the matrices that are shown first.
    """

    matrices: Sequence[Matrix]
    left: int
    right: int


@dataclass(frozen=True)
class Facts:
    """Names with values.

    Attributes:
        code: names whose value is a command or an identifier.
    """

    rows: Sequence[tuple[str, str]]
    code: frozenset[str] = frozenset()


Block: TypeAlias = Table | Chart | Pictures | MatrixPair | Facts


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading.

    Attributes:
        name: anchor of the section, in letters and hyphens.
        lines: sentences before the blocks.
    """

    name: str
    title: str
    lines: Sequence[str] = ()
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Tile:
    """One number in large type at the top of a page."""

    value: str
    label: str


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: of the page.
        lead: the verdict in one sentence.
        notes: further sentences under the lead.
        tiles: a few numbers in large type.
        sections: in order; empty sections must be left out by the caller.
        missing: what the report does not show, and why.
    """

    title: str
    lead: str
    notes: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = ()
    missing: Sequence[str] = field(default=())
