"""Write a network to a file, load the file again, and compare both on images.

Nothing is left behind if the file is wrong: it is written whole or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.compression.costs.costs import Timing
from workbench.compression.recipes.recipe_settings import ONNX, ONNX_INT8, TORCH
from workbench.data.image_batches import ImageSet
from workbench.data.user_paths import check_new_file, user_path
from workbench.data.whole_files import write_text, written_whole
from workbench.deployment.file_evaluation import normalised_batches
from workbench.deployment.file_formats import MODEL_CARD, Format
from workbench.deployment.model_card import Evidence, model_card
from workbench.deployment.network_files import torch_run
from workbench.deployment.onnx_files import Array, Run, open_onnx, write_onnx
from workbench.deployment.runtimes import time_runs
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import STAGES
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.deployment.stages import file_costs
from workbench.errors import ExportError
from workbench.store.unfinished_work import disk_errors

_NOISE = 32  # images of noise, if there are no real ones
_TOLERANCE = 1e-4  # as a share of the largest logit
NOISE = "noise images"
FLOAT = "float32"


@dataclass(frozen=True)
class TestImages:
    """The images on which a file is compared with its network.

    Attributes:
        images: the test images; None compares on noise.
        name: what they are, for messages, such as "test images of S2".
    """

    __test__ = False  # not a test of pytest

    images: ImageSet | None
    name: str = NOISE


@dataclass(frozen=True)
class Timed:
    """Times of a network in a runtime.

    Attributes:
        network: "float32", or the name of the stage.
        runtime: name of the runtime.
        one, many: times at batch 1 and at batch 64.
    """

    network: str
    runtime: str
    one: Timing
    many: Timing


@dataclass(frozen=True)
class Checked:
    """A file in another runtime.

    Attributes:
        runtime: name of the runtime.
        accuracies: of the network and of the file in this runtime, in [0, 1]; None on noise.
        agreement: share of the images for which both predict the same class, in [0, 1].
        here, usual: times of one image in this runtime and in onnxruntime, measured in turns.
    """

    runtime: str
    accuracies: tuple[float, float] | None
    agreement: float
    here: Timing
    usual: Timing


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported file and its comparison with the network.

    Attributes:
        path: the file.
        compared_on: what the images are.
        images: number of images.
        difference: largest difference of logits, as a share of the largest logit.
        agreement: share of the images for which both predict the same class, in [0, 1].
        network_correct, file_correct: which images each classifies correctly, shape (images,);
            empty for noise.
        network_bytes, file_bytes: sizes of the float32 tensors and of the file.
        timings: the network in torch (and in onnxruntime, if the file runs there), and the file in
            its runtime; empty if not measured.
        report: how a stage made the file.
        model_card: the file with the model card.
        check: the file in another runtime; None without ``--check``.
        costs: of a file whose costs depend on the images, as ``stages.file_costs`` returns them;
            else empty.
    """

    path: Path
    compared_on: str
    images: int
    difference: float
    agreement: float
    network_correct: NDArray[np.bool_]
    file_correct: NDArray[np.bool_]
    network_bytes: int
    file_bytes: int
    report: StageReport
    model_card: Path
    timings: tuple[Timed, ...] = ()
    check: Checked | None = None
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def real(self) -> bool:
        """Whether the file was compared on real images."""
        return len(self.file_correct) > 0

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Accuracy of the network and of the file, in [0, 1]; None on noise."""
        if not self.real:
            return None
        return float(self.network_correct.mean()), float(self.file_correct.mean())


def check_out(out: Path | str | None, form: Format) -> tuple[Path, Path]:
    """The file to write and the file of its model card; neither may exist.

    Raises:
        SettingsError: when one cannot be created.
    """
    path = check_new_file(user_path(out or f"network{form.suffix}"), "--out", form.suffix)
    return path, check_new_file(path.with_name(f"{path.name}.md"), "--out", ".md")


def write_file(
    trained: TrainedNetwork,
    form: Format,
    out: tuple[Path, Path],
    test: TestImages,
    evidence: Evidence,
    settings: DeploymentSettings,
    *,
    model: str | None = None,
    threads: int = 1,
) -> Exported:
    """Write a network to a file and compare the loaded file with the network on all images.

    Args:
        out: from ``check_out``.
        evidence: what is known about the network, for the model card.
        settings: an int8 file for another kind of processor is not timed.

    Raises:
        ExportError: when the outputs of a float32 file and the network differ; no file is left.
        WorkbenchError: when the file cannot be written.
    """
    path, card_path = out
    with disk_errors(path.parent), written_whole(path, form.suffix) as part:
        report = form.write(trained, settings, part)
        opened = form.open(part, model, threads)
        network = torch_run(trained.network)
        done = compare_runs(path, opened.run, trained, test)
        if form.exact and not done.difference <= _TOLERANCE:
            raise ExportError(
                f"{path}: differs from its network by {done.difference:.1e} of the largest logit, "
                f"more than {_TOLERANCE:g}; the file was removed"
            )
        done = replace(done, report=report, file_bytes=part.stat().st_size, model_card=card_path)
        # A file whose cost depends on the images cannot be timed on noise.
        by_images = form.stage in STAGES and STAGES[form.stage].own_costs
        if by_images and form.stage and test.images is not None:
            done = replace(done, costs=file_costs(form.stage, part, model, test.images))
        if not by_images and (settings.runs_here or form.runtime != ONNX_INT8):
            done = replace(done, timings=_time(trained, form, network, opened.run, threads))
        text = model_card(trained.card, evidence, done, form, threads)
        form.describe(part, {MODEL_CARD: text})
        _check_unchanged(path, opened.run, form.open(part, model, threads).run, trained)
        write_text(card_path, text)  # before the file takes its place
    return done


def _time(
    trained: TrainedNetwork, form: Format, network: Run, file: Run, threads: int
) -> tuple[Timed, ...]:
    """Time the network and its file; an int8 file is compared in the same runtime, too."""
    subjects = [(FLOAT, TORCH, network)]
    with tempfile.TemporaryDirectory() as folder:
        if form.runtime == ONNX_INT8:
            plain = Path(folder) / "float.onnx"
            write_onnx(trained.network, trained.card, plain)
            subjects.append((FLOAT, ONNX, open_onnx(plain, threads)[1]))
        subjects.append((form.stage or FLOAT, form.runtime, file))
        times = time_runs([run for _, _, run in subjects], trained.card.shape)
    return tuple(
        Timed(name, runtime, *pair)
        for (name, runtime, _), pair in zip(subjects, times, strict=True)
    )


def compare_runs(path: Path, file: Run, trained: TrainedNetwork, test: TestImages) -> Exported:
    """Compare the outputs of a file with those of its network on all test images.

    Args:
        path: the file, for messages.
        file: the opened file.

    Raises:
        ExportError: when the outputs have another shape.
    """
    network = torch_run(trained.network)
    difference, largest, same = 0.0, 1e-30, 0
    correct: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    count = 0
    for images, labels in _batches(trained, test):
        wanted, found = network(images), file(images)
        if found.shape != wanted.shape:
            raise ExportError(f"{path}: has outputs of shape {found.shape}, not {wanted.shape}")
        count += len(images)
        apart = np.abs(found - wanted).max()
        difference = max(difference, float(apart) if np.isfinite(apart) else np.inf)
        largest = max(largest, float(np.abs(wanted).max()))
        classes = wanted.argmax(1), found.argmax(1)
        same += int((classes[0] == classes[1]).sum())
        if test.images is not None:
            correct.append((classes[0] == labels, classes[1] == labels))
    nothing: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    by_network, by_file = (
        (np.concatenate(each) for each in zip(*correct, strict=True))
        if correct
        else (nothing, nothing)
    )
    tensors = trained.network.state_dict().values()
    return Exported(
        path=path,
        compared_on=test.name,
        images=count,
        difference=difference / largest,
        agreement=same / count,
        network_correct=by_network,
        file_correct=by_file,
        network_bytes=sum(tensor.nbytes for tensor in tensors),
        file_bytes=0,
        report=StageReport(),
        model_card=path,
    )


def _batches(
    trained: TrainedNetwork, test: TestImages
) -> Iterable[tuple[Array, NDArray[np.int64]]]:
    """Normalised batches of the test images, or one of noise, with labels."""
    if test.images is not None:
        return normalised_batches(test.images, trained.card)
    noise = np.random.default_rng(0).standard_normal((_NOISE, *trained.card.shape))
    return [(noise.astype(np.float32), np.zeros(_NOISE, dtype=np.int64))]


def _check_unchanged(path: Path, before: Run, after: Run, trained: TrainedNetwork) -> None:
    """Check that adding the model card did not change the file's outputs."""
    noise = np.random.default_rng(1).standard_normal((2, *trained.card.shape)).astype(np.float32)
    if not np.allclose(before(noise), after(noise), rtol=1e-5, atol=1e-5):
        raise ExportError(f"{path}: its outputs changed when its model card was added")
