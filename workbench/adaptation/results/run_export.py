"""``export`` and ``quantize``: the file of a recorded network, compared on its test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.adaptation.results.run_images import RunImages, find_images
from workbench.compression.narrow_networks import load_network
from workbench.data.known_sets import Images
from workbench.deployment.export import NOISE, Exported, TestImages, check_out, write_file
from workbench.deployment.file_formats import FORMATS, STAGE_FORMATS, Format
from workbench.deployment.model_card import Evidence
from workbench.deployment.optional_libraries import import_library
from workbench.deployment.other_runtimes import OTHERS, check_file
from workbench.deployment.run_weights import Located, find_weights
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import STAGES
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import SettingsError, check_choice
from workbench.models.weight_files import Card, read_card
from workbench.store.run_tags import VERSION

#: Parameters of a run that its model card shows.
_SHOWN = (
    "protocol", "method", "selection", "seed", "epochs", "schedule", "learning_rate", "batch_size",
    "weight_decay", "source", "source_weights", "torch",
)  # fmt: skip


def export(
    run: str,
    *,
    format: str = "safetensors",  # noqa: A002 - named as the option
    out: Path | str | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
    check: str | None = None,
    **options: Any,
) -> Exported:
    """Write a network to a file, load the file again and compare it with the network.

    They are compared on all test images of the network's domain, or on noise if the images are not
    on this machine. A model card is written beside the file and into its metadata.

    Args:
        run: as for ``deployment.run_weights.find_weights``.
        format: a name in ``deployment.file_formats.FORMATS``.
        out: file to write; ``network`` with the format's suffix when None. An existing file is
            not overwritten.
        model: name of the network, if the user's own code defines it.
        data_dir: folder of the data sets; the one that the run used when None.
        check: a name in ``deployment.other_runtimes.OTHERS``: run the ONNX file there, too.
        **options: ``int8_for`` and ``calibration_images``, for "onnx-int8".

    Raises:
        WorkbenchError: for anything that the user can correct; ``ExportError`` when the outputs
            of a float32 file and the network differ (no file is left).
    """
    problems = check_choice("--format", format, list(FORMATS))
    problems += check_choice("--check", check, list(OTHERS))
    if check and not format.startswith("onnx"):
        problems.append(f"--check {check} runs ONNX files; use --format onnx or onnx-int8")
    if problems:
        raise SettingsError(*problems)
    return _write(FORMATS[format], run, out, model, data_dir, tracking_uri, options, check)


def quantize(
    run: str,
    *,
    stage: str = "int8",
    out: Path | str | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
    **options: Any,
) -> Exported:
    """Apply a stage to a recorded network and compare the file with the network.

    Args:
        stage: a name in ``deployment.stage_names.STAGES``.
        run, out, model, data_dir, tracking_uri: as for ``export``.
        **options: fields of ``deployment.settings.DeploymentSettings``.

    Raises:
        WorkbenchError: for anything that the user can correct, such as training images that are
            not on this machine.
    """
    problems = check_choice("--stage", stage, list(STAGES))
    if problems:
        raise SettingsError(*problems)
    return _write(STAGE_FORMATS[stage], run, out, model, data_dir, tracking_uri, options)


def _write(
    form: Format,
    run: str,
    out: Path | str | None,
    model: str | None,
    data_dir: Path | None,
    tracking_uri: str | None,
    options: dict[str, Any],
    check: str | None = None,
) -> Exported:
    if check:
        import_library(check, check, f"--check {check}")  # before the file is written
    settings = DeploymentSettings(**options)
    used = STAGES[form.stage].options if form.stage else ()
    problems = [*settings.problems(), *settings.unused(used)]
    if form.stage and STAGES[form.stage].rewinds:
        problems.append(
            f"--stage {form.stage} needs the weights that the training started from, which are not "
            f"stored; use 'workbench adapt ... --stages {form.stage}'"
        )
    if problems:
        raise SettingsError(*problems)
    paths = check_out(out, form)
    located = find_weights(run, tracking_uri)
    network, card = load_network(located.weights, model), read_card(located.weights)
    found = find_images(located, card, data_dir, tracking_uri)
    if isinstance(found, str):
        if form.stage:
            raise SettingsError(
                f"{form.stage}: needs the training images of the network's classes, but {found}"
            )
        test = TestImages(None, f"{NOISE} ({found})")
        trained = TrainedNetwork(network, card, _no_images(card))
    else:
        test = TestImages(found.test, found.test_name)
        trained = TrainedNetwork(network, card, found.train)
    threads = torch.get_num_threads()
    done = write_file(
        trained,
        form,
        paths,
        test,
        _evidence(run, located, found),
        settings,
        model=model,
        threads=threads,
    )
    return replace(done, check=check_file(check, done, trained, test, threads)) if check else done


def _evidence(name: str, located: Located, found: RunImages | str) -> Evidence:
    stored = located.run
    domain = fingerprint = ""
    if isinstance(found, RunImages):
        domain, fingerprint = found.domain, found.train.fingerprint()
    if stored is None:
        return Evidence(Path(name).name, {}, domain, fingerprint)
    made_by = {each: stored.params[each] for each in _SHOWN if each in stored.params}
    return Evidence(
        f"run {stored.run_id}",
        made_by,
        stored.params.get("domain", domain),
        fingerprint,
        stored.tags.get(VERSION, ""),
    )


def _no_images(card: Card) -> Images:
    return Images(np.zeros((0, *card.shape), dtype=np.uint8), np.zeros(0, dtype=np.int64))
