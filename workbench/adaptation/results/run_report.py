"""The report of a recorded adaptation: collects its data from the store, renders and stores it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.adaptation.results.recorded_exits import recorded_exits
from workbench.adaptation.results.report_facts import CODE, adaptation_facts, without_folders
from workbench.adaptation.results.run_images import find_target_images
from workbench.data.checked_values import listed, mapped, short_text
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import Images
from workbench.errors import DamagedRunError, MissingRunError, SettingsError, WorkbenchError
from workbench.reporting.recipe_text import method_text
from workbench.reporting.report.adaptation_page import AdaptationReport, adaptation_page
from workbench.reporting.report.html import render
from workbench.reporting.report.network_sections import Training
from workbench.reporting.report.networks import ReportedNetwork, compared_pair, networks_from
from workbench.reporting.report.prediction_sections import (
    AnsweredNetwork,
    Answers,
    differing_images,
)
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KIND
from workbench.store.runs import FINISHED, StoredRun
from workbench.store.stored_results import (
    REPORT_FILE,
    RESULT_FILE,
    read_artifact,
    stored_correlations,
    stored_hits,
    stored_predictions,
    stored_recipe,
)


@dataclass(frozen=True)
class TestImages:
    """The images on which the networks were compared.

    Attributes:
        images: the set.
        digest: its fingerprint.
        white: value of a white pixel.
    """

    images: ImageSet
    digest: str
    white: int = 255


@dataclass(frozen=True)
class RecordedAdaptation:
    """A finished adaptation, as its own run describes it.

    Attributes:
        content: the plain data of its result, with a checked title, verdict and networks.
        trainings: runs of the networks; those that the store lacks are left out.
    """

    run: StoredRun
    content: dict[str, Any]
    networks: tuple[ReportedNetwork, ...]
    trainings: dict[str, StoredRun]

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings."""
        found = self.content.get("settings")
        return found if isinstance(found, dict) else {}

    @property
    def recommended(self) -> str:
        """Label of the recommended network."""
        stage = self.content.get("recommended_stage", "")
        return f"{self.content['recommended']} {stage}".strip()

    @property
    def title(self) -> str:
        """Target, model and method."""
        method = method_text({**self.settings, "method": self.content["method"]})
        return f"{self.content['target']} · {self.content['model']} · {method}"

    @property
    def split(self) -> str:
        """What the networks were compared on: "test" or "validation" images."""
        return "validation" if "validation" in self.settings else "test"


def recorded_adaptation(store: Store, run: StoredRun) -> RecordedAdaptation:
    """Read what a finished adaptation recorded.

    Raises:
        SettingsError: when the run is no adaptation, or has no result yet.
        DamagedRunError: when its result is missing or damaged.
    """
    kind = run.tags.get(KIND, "unknown")
    if kind != "adapt":
        raise SettingsError(
            f"run '{run.run_id}' is a run of kind '{kind}'; name the run of an adaptation or a "
            "search ('workbench ui' shows them), or use --target"
        )
    if store.fetch(run, RESULT_FILE) is None and run.status != FINISHED:
        raise SettingsError(
            f"run '{run.run_id}' is {run.status} and has no result yet; run the same 'workbench "
            "adapt' command again, which completes it"
        )
    content, networks = read_artifact(store, run, RESULT_FILE, _checked)
    trainings = {}
    for run_id in dict.fromkeys(run_id for each in networks for run_id in each.run_ids):
        try:
            trainings[run_id] = store.run(run_id)
        except MissingRunError:
            continue
    return RecordedAdaptation(run, content, networks, trainings)


def _checked(content: object) -> tuple[dict[str, Any], tuple[ReportedNetwork, ...]]:
    saved = mapped("it", content)
    for name in ("target", "model", "method", "recommended", "verdict"):
        short_text(name, saved.get(name))
    return saved, networks_from(saved)


def collect_report(
    store: Store, found: RecordedAdaptation, test: TestImages | str | None
) -> AdaptationReport:
    """Collect the data of an adaptation's report from the store.

    Args:
        test: the images, or the reason why they are not here. None collects no curves,
            correlations and predictions, which a comparison of runs does not show.
    """
    report, missing = _summarised(store, found)
    if test is None:
        return replace(report, missing=list(map(without_folders, missing)))
    correlations = stored_correlations(store, found.run)
    if report.recipe is not None and not report.recipe.factorises and not correlations:
        missing.append(
            "Correlations, and spectra after the selection: the analysis was recorded by an "
            "earlier version; the same command with --fresh measures them."
        )
    exits, damaged = recorded_exits(store, found.networks, found.trainings)
    missing += damaged
    answers, lacking = _answers(store, found)
    missing += lacking
    pixels = None
    if answers is not None:
        try:
            pixels = _pixels(store, found, answers, test)
        except DamagedRunError as error:
            missing.append(f"The images on which the networks differ: {error}.")
    return replace(
        report,
        exits=exits,
        correlations=correlations,
        trainings=_trainings(store, found),
        answers=answers,
        pixels=pixels,
        missing=list(map(without_folders, missing)),
    )


def _summarised(store: Store, found: RecordedAdaptation) -> tuple[AdaptationReport, list[str]]:
    """The parts of the report that every page has, and a line about a damaged recipe."""
    missing: list[str] = []
    try:
        recipe = stored_recipe(store, found.run)
    except DamagedRunError as error:
        recipe = None
        missing.append(f"Filters and spectra: {error}.")
    images = next(
        (round(run.evaluated("images")) for run in found.trainings.values()
         if f"{run.split}_images" in run.metrics), 0,
    )  # fmt: skip
    report = AdaptationReport(
        title=found.title,
        verdict=str(found.content["verdict"]),
        notes=_sentences(found.content.get("verdict_notes", [])),
        networks=found.networks,
        recommended=found.recommended,
        accuracy_line=_accuracy_line(found, images),
        recipe=recipe,
        split=found.split,
        facts=adaptation_facts(store, found.run, list(found.trainings.values()), found.settings),
        code=CODE,
    )
    return report, missing


def _sentences(saved: object) -> list[str]:
    return [str(line) for line in listed("notes", saved)] if isinstance(saved, list) else []


def _accuracy_line(found: RecordedAdaptation, images: int) -> str:
    seeds = max(len(each.accuracies) for each in found.networks)
    on = f"on {images:,} {found.split} images" if images else f"on the {found.split} images"
    if seeds > 1:
        return (
            f"Accuracy: mean ± standard deviation over {seeds} seeds {on}; interval: 95 %, "
            "Student's t over the seeds, or Wilson over the images if the seeds agree."
        )
    return (
        f"Accuracy: one seed {on}; interval: 95 %, Wilson over the images. It does not include the "
        "variation between seeds."
    )


def _answers(store: Store, found: RecordedAdaptation) -> tuple[Answers | None, list[str]]:
    """The predictions of all networks, and a line about networks without them."""
    classes = [str(name) for name in found.settings.get("classes", [])]
    networks, lacking = [], []
    for each in found.networks:
        runs = [found.trainings[run_id] for run_id in each.run_ids if run_id in found.trainings]
        read = [stored_predictions(store, run) for run in runs]
        known = [one for one in read if one is not None and _fits(one.classes, classes)]
        if known and len(known) == len(each.run_ids):
            networks.append(AnsweredNetwork(each.label, known))
        else:
            lacking.append(each.label)
    missing = []
    if lacking:
        missing.append(
            "Confusion matrices, calibration and differing images of "
            f"{', '.join(lacking)}: no class probabilities are recorded (earlier versions did not "
            "record them), or they are damaged; the same command with --fresh records them."
        )
    if not networks:
        return None, missing
    full, small = compared_pair(found.networks, found.recommended)
    one, other = (each.label if each else "" for each in (full, small))
    return Answers(networks, one, other, classes, found.split), missing


def _fits(answers: NDArray[np.int64], classes: Sequence[str]) -> bool:
    return bool(answers.max(initial=0) < len(classes))


def _pixels(
    store: Store, found: RecordedAdaptation, answers: Answers, test: TestImages | str
) -> dict[int, NDArray[np.uint8]]:
    """The images on which the full and the small network differ, by their index.

    Raises:
        DamagedRunError: when they are not here, or others than those that were recorded.
    """
    places = sorted({place for side in differing_images(answers) for place in side})
    if not places:
        return {}
    if isinstance(test, str):
        raise DamagedRunError(test)
    hits = next((h for run in found.trainings.values() if (h := stored_hits(store, run))), None)
    if hits is None or hits[0] != test.digest:
        raise DamagedRunError("the images have changed since the run")
    try:
        pixels = [np.minimum(each * (255 / test.white), 255) for each in _read(test.images, places)]
        return {place: each.astype(np.uint8) for place, each in zip(places, pixels, strict=True)}
    except WorkbenchError as error:  # a file was removed meanwhile
        raise DamagedRunError(error.problems[0]) from None


def _read(images: ImageSet, places: list[int]) -> list[NDArray[np.uint8]]:
    if isinstance(images, Images):
        return [images.pixels[place] for place in places]
    stream = replace(images, workers=0)
    order, device = np.array(places), torch.device("cpu")
    return [pixels.numpy()[0] for pixels, _ in stream.batches(order, [1] * len(places), device)]


def _trainings(store: Store, found: RecordedAdaptation) -> list[Training]:
    """The curves of all trainings; a stage has none of its own."""
    runs = {
        run_id: each.protocol
        for each in found.networks
        if not each.stage
        for run_id in each.run_ids
        if run_id in found.trainings
    }
    return [
        Training(
            protocol,
            found.trainings[run_id].params.get("seed", "?"),
            store.logged_steps(run_id, "train_loss"),
            store.logged_steps(run_id, "lr"),
        )
        for run_id, protocol in runs.items()
    ]


def images_of(found: RecordedAdaptation, data_dir: Path | None, uri: str) -> TestImages | str:
    """The images of an adaptation, loaded again, or the reason why they are not here."""
    images = find_target_images(found.run.run_id, data_dir, uri)
    if isinstance(images, str):
        return images
    return TestImages(images.test, images.test.fingerprint(), images.white)


def adaptation_html(store: Store, run: StoredRun, test: TestImages | str) -> str:
    """The report of a finished adaptation as HTML; arguments and errors as above."""
    return render(adaptation_page(collect_report(store, recorded_adaptation(store, run), test)))


def attach_report(store: Store, run_id: str, html: str) -> None:
    """Store a report as an artifact of a run, and replace an earlier one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / REPORT_FILE
        path.write_text(html, encoding="utf-8")
        store.attach(run_id, path)
