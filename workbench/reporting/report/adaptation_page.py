"""The report of one adaptation, made of plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workbench.compression.recipes.correlation_record import LayerCorrelation
from workbench.compression.recipes.recipes import Recipe
from workbench.reporting.report.exit_section import NetworkExits, exits_section
from workbench.reporting.report.layer_sections import filters_section, spectra_section
from workbench.reporting.report.network_sections import (
    Training,
    table_section,
    tiles_of,
    trade_section,
    training_section,
)
from workbench.reporting.report.networks import ReportedNetwork, compared_pair
from workbench.reporting.report.page import Facts, Page, Section
from workbench.reporting.report.prediction_sections import (
    Answers,
    calibration_section,
    confusion_section,
    images_section,
)


@dataclass(frozen=True)
class AdaptationReport:
    """The data of one adaptation's report.

    Attributes:
        title: domain, model and method.
        verdict: the verdict in one sentence.
        notes: further sentences about it.
        networks: all networks, protocols first.
        recommended: label of the recommended one.
        accuracy_line: explains the accuracies of the table.
        split: the images of the accuracies, "test" or "validation".
        exits: of the networks that have several exits.
        recipe: None if it is damaged.
        correlations: empty if they are not recorded.
        trainings: with their curves.
        answers: None if no predictions are recorded.
        pixels: images of ``prediction_sections.differing_images`` by index; None if the images are
            not here.
        facts: where the report was made, by name.
        code: names of the facts that are commands or identifiers.
        missing: what the report does not show, and why.
    """

    title: str
    verdict: str
    notes: Sequence[str]
    networks: tuple[ReportedNetwork, ...]
    recommended: str
    accuracy_line: str
    recipe: Recipe | None
    split: str = "test"
    exits: Sequence[NetworkExits] = ()
    correlations: Sequence[LayerCorrelation] = ()
    trainings: Sequence[Training] = ()
    answers: Answers | None = None
    pixels: Mapping[int, NDArray[np.uint8]] | None = None
    facts: Sequence[tuple[str, str]] = ()
    code: frozenset[str] = frozenset()
    missing: Sequence[str] = field(default=())


def adaptation_page(report: AdaptationReport) -> Page:
    """The page of an adaptation."""
    pair = compared_pair(report.networks, report.recommended)
    return Page(
        title=report.title,
        lead=report.verdict,
        notes=report.notes,
        tiles=tiles_of(report.networks, report.recommended, *pair),
        sections=adaptation_sections(report),
        missing=report.missing,
    )


def adaptation_sections(report: AdaptationReport) -> list[Section]:
    """The sections of an adaptation; those without data are left out."""
    series: dict[str, list[ReportedNetwork]] = {}
    for each in report.networks:
        series.setdefault(each.protocol, []).append(each)
    sections = [
        table_section(report.networks, report.recommended, report.accuracy_line),
        trade_section(series, {"": report.recommended}),
    ]
    if report.exits:
        sections.append(exits_section(report.exits, report.split))
    if report.recipe is not None:
        sections.append(filters_section(report.recipe))
        sections.append(spectra_section(report.recipe, report.correlations))
    trained = [each for each in report.trainings if each.losses]
    if trained:
        sections.append(training_section(trained))
    if report.answers is not None:
        sections.append(confusion_section(report.answers))
        images = None
        if report.pixels is not None:
            images = images_section(report.answers, dict(report.pixels))
        sections += [images] if images else []
        sections.append(calibration_section(report.answers))
    return [*sections, provenance_section(report.facts, report.code)]


def provenance_section(facts: Sequence[tuple[str, str]], code: frozenset[str]) -> Section:
    """Where a report was made."""
    return Section("origin", "Where it was made", [], [Facts(facts, code)])
