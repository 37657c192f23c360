"""Rows and pages: what comes from anybody's file is checked, and adds no markup."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.errors import DataError
from workbench.experiments.pages import Page, publish, table
from workbench.experiments.result_rows import read_cells, write_cells

ROWS = Path(__file__).parents[2] / "docs" / "results" / "data" / "cells.csv"
WRONG_VALUES = {
    "hits": ("-1", "hits is -1"),
    "top_hits": ("999999", "top_hits is 999999"),
    "images": ("0", "images is 0"),
    "footprint": ("0.0", "footprint is 0"),
    "flops_ratio": ("1.2", "flops_ratio is 1.2"),
    "latency_ms": ("nan", "latency_ms is nan"),
    "train_seconds": ("inf", "train_seconds is inf"),
    "learning_rate": ("-0.1", "learning_rate is -0.1"),
    "seed": ("1" * 400, "seed is 111"),
    "filters": ("3 -4", "filters are '3 -4'"),
    "machine": ("m" * 5000, "machine is 'mmm"),
}


def test_the_projects_own_rows_are_read_and_written_as_they_are(tmp_path):
    cells = read_cells(ROWS)
    write_cells(tmp_path / "cells.csv", cells.values())
    assert read_cells(tmp_path / "cells.csv") == cells
    assert {path.name for path in tmp_path.iterdir()} <= {"cells.csv", ".cells.csv.lock"}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_a_row_with_what_no_training_has_is_named_by_its_line(tmp_path, name):
    value, said = WRONG_VALUES[name]
    with ROWS.open(newline="") as file:
        row = next(csv.DictReader(file)) | {name: value}
    path = tmp_path / "cells.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    with pytest.raises(DataError) as error:
        read_cells(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}:2: ")
    assert said in problem


def test_names_in_rows_add_no_markup_to_a_page(tmp_path):
    first = next(iter(read_cells(ROWS).values()))
    evil = replace(first, model="[x](http://y) `|<b>\n# new", machine="a\n\n# b")
    page = Page("p", f"of {evil.model}", [f"{evil.model}."], table(("model",), [(evil.model,)]))
    lines = publish(lambda: page, [evil], tmp_path, ["workbench", "x\n```"]).read_text().split("\n")
    assert not [line for line in lines if "[x](" in line or "<b>" in line]
    assert len([line for line in lines if line.startswith("#")]) == 2
    assert len([line for line in lines if line.startswith("```")]) == 2
    (line,) = [line for line in lines if line.startswith("| \\[x")]
    assert line.replace("\\|", "").count("|") == 2
