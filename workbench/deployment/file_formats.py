"""The file formats of an export, as a table: how each is written, described and opened.

Every file holds the network, its class names, its input size and the images' normalisation. The
input is a batch, of any size, of normalised images as ``predict.prepare`` returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from workbench.deployment.executorch_files import write_pte
from workbench.deployment.network_files import OpenNetwork, open_network, torch_run
from workbench.deployment.onnx_files import add_texts, write_onnx
from workbench.deployment.optional_libraries import import_onnx
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import INT8, STAGES
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.deployment.stages import apply_stage
from workbench.models.weight_files import CARD, card_from, save_tensors

#: Name of the model card's text in the metadata of a file.
MODEL_CARD = "workbench.model_card"
#: Writes the file; the network's images are needed by the stages only.
Write = Callable[[TrainedNetwork, DeploymentSettings, Path], StageReport]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        suffix: of its files.
        exact: whether its logits equal those of the network up to rounding in float32.
        runtime: name of its runtime.
        stage: the stage that makes it; "" for a float32 file.
        write: writes it.
        describe: adds texts, by their names, to the metadata of a written file.
        open: loads a file that was just written.
    """

    suffix: str
    exact: bool
    runtime: str
    stage: str
    write: Write
    describe: Callable[[Path, Mapping[str, str]], None]
    open: Callable[[Path, str | None, int | None], OpenNetwork] = open_network


def _write_safetensors(trained: TrainedNetwork, _settings: Any, path: Path) -> StageReport:
    save_tensors(dict(trained.network.state_dict()), path, trained.card.metadata())
    return StageReport()


def _describe_safetensors(path: Path, texts: Mapping[str, str]) -> None:
    save_tensors(load_file(path), path, {**read_metadata(path), **texts})


def read_metadata(path: Path) -> dict[str, str]:
    """All metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _write_pt2(trained: TrainedNetwork, _settings: Any, path: Path) -> StageReport:
    batch = {0: torch.export.Dim.DYNAMIC}
    images = torch.zeros(2, *trained.card.shape)
    program = torch.export.export(trained.network, (images,), dynamic_shapes=(batch,))
    torch.export.save(program, path, extra_files={f"{CARD}.json": trained.card.text()})
    return StageReport()


def _describe_pt2(path: Path, texts: Mapping[str, str]) -> None:
    extra = {f"{CARD}.json": ""}
    program = torch.export.load(path, extra_files=extra)  # written by this process
    torch.export.save(program, path, extra_files={**extra, **texts})


def _open_pt2(path: Path, _model: str | None, _threads: int | None) -> OpenNetwork:
    # torch.export.load unpickles, so load only the file that was just written here.
    extra = {f"{CARD}.json": ""}
    program: Any = torch.export.load(path, extra_files=extra).module()
    return OpenNetwork(card_from(path, extra[f"{CARD}.json"]), torch_run(program, place_it=False))


def _write_onnx(trained: TrainedNetwork, _settings: Any, path: Path) -> StageReport:
    write_onnx(trained.network, trained.card, path)
    return StageReport()


def _describe_onnx(path: Path, texts: Mapping[str, str]) -> None:
    onnx = import_onnx("onnx")
    proto = onnx.load(str(path))
    add_texts(proto, dict(texts))
    onnx.save(proto, str(path))


def _write_pte(trained: TrainedNetwork, _settings: Any, path: Path) -> StageReport:
    write_pte(trained.network, trained.card, torch.zeros(1, *trained.card.shape), path)
    return StageReport()


def _describe_nothing(_path: Path, _texts: Mapping[str, str]) -> None:
    """A program has no metadata besides the card that it was written with."""


def _of_stage(name: str) -> Format:
    """The format of a stage's file."""
    stage = STAGES[name]

    def write(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
        return apply_stage(name, trained, settings, path)

    describe = _describe_onnx if stage.suffix == ".onnx" else _describe_safetensors
    return Format(stage.suffix, False, stage.runtime or "torch", name, write, describe)


#: The formats of ``workbench quantize`` by the name of the stage.
STAGE_FORMATS: dict[str, Format] = {name: _of_stage(name) for name in STAGES}
#: The formats of ``workbench export`` by name.
FORMATS: dict[str, Format] = {
    "safetensors": Format(
        ".safetensors", True, "torch", "", _write_safetensors, _describe_safetensors
    ),
    "pt2": Format(".pt2", True, "torch", "", _write_pt2, _describe_pt2, _open_pt2),
    "onnx": Format(".onnx", True, "onnx", "", _write_onnx, _describe_onnx),
    "onnx-int8": STAGE_FORMATS[INT8],
    "pte": Format(".pte", True, "executorch", "", _write_pte, _describe_nothing),
}
