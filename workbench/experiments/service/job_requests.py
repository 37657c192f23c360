"""From a client's request to the option file of a job, with the checks and messages of ``adapt``.

A client may name known data sets and domains, its uploads, and files below the folder of
``--root``. Other paths and options that are paths are rejected, and so is code of the user's own
(``package.module:function``).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from workbench.adaptation.options.option_files import TYPES, read_options
from workbench.data.catalog import IMAGENET, SOURCES
from workbench.domains.new_files import folder_text, write_domain
from workbench.domains.search import search_path
from workbench.errors import SettingsError, WorkbenchError, did_you_mean, printable
from workbench.experiments.service.job_records import Job, JobFolder, new_id
from workbench.experiments.service.settings import ServiceSettings
from workbench.experiments.service.upload_store import (
    IMAGES,
    WEIGHTS,
    UploadStore,
    check_tensors,
    plain_name,
)
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.store.stored_results import OPTIONS_FILE

UPLOAD, ROOT = "upload:", "root:"
#: Options of ``adapt`` that a client may not set: paths, addresses, and what is set elsewhere.
_OWN = ("source", "target", "model", "weights")
_WITHHELD = (
    "data_dir", "domains", "output", "tracking_uri", "recipe_file", "fresh", "keep_weights",
    "device",
)  # fmt: skip
OPTIONS: dict[str, tuple[type, ...]] = {
    name: kinds for name, kinds in TYPES["adapt"].items() if name not in (*_OWN, *_WITHHELD)
}
_MODEL = re.compile(r"[\w-]+|torchvision:\w+", re.ASCII)
_LONGEST_TEXT = 1000  # characters


@dataclass(frozen=True)
class JobRequest:
    """What a client asks for.

    Attributes:
        source: a known data set, "imagenet", or a folder as "upload:ID" or "root:PATH".
        target: a known domain, or a folder.
        weights: "upload:ID", "root:PATH", "DEFAULT" for torchvision's weights, or "" to train the
            source network first.
        model: architecture; "" for the source's default.
        name: name of the domain that is made of a folder; "" for the folder's own.
        options: further options of ``adapt`` by their names in Python; names in ``OPTIONS``.
    """

    source: str
    target: str
    weights: str = ""
    model: str = ""
    name: str = ""
    options: Mapping[str, Any] | None = None

    def uploads(self) -> list[str]:
        """Ids of the uploads that it needs."""
        fields = (self.source, self.target, self.weights)
        return [text.removeprefix(UPLOAD) for text in fields if text.startswith(UPLOAD)]


@dataclass(frozen=True)
class Names:
    """What clients may name.

    Attributes:
        root: folder whose files they may name; None for none.
    """

    uploads: UploadStore
    root: Path | None

    def path(self, option: str, text: str, kind: str) -> Path | None:
        """The path that a reference names; None if the text is no reference.

        Raises:
            SettingsError: when there is no such file, or clients may not name it.
        """
        if text.startswith(UPLOAD):
            upload = self.uploads.get(text.removeprefix(UPLOAD))
            if upload.kind != kind:
                raise SettingsError(f"{option}: {text} holds {upload.kind}, not {kind}")
            return self.uploads.path(upload)
        if text.startswith(ROOT):
            return self._below_root(option, text.removeprefix(ROOT), kind)
        return None

    def _below_root(self, option: str, text: str, kind: str) -> Path:
        shown = f"{option}: {ROOT}{printable(text, 100)}"
        if self.root is None:
            raise SettingsError(f"{shown}: this server has no --root folder; upload the file")
        root = self.root.resolve()
        missing = SettingsError(f"{shown}: there is no such file or folder that you may use")
        if "\0" in text:
            raise missing
        try:
            path = (root / text).resolve(strict=True)  # follows links, which may lead elsewhere
        except (OSError, RuntimeError):
            raise missing from None
        if not path.is_relative_to(root) or path == root:
            raise missing
        if kind == IMAGES and not path.is_dir():
            raise missing
        if kind == WEIGHTS:
            if path.suffix != ".safetensors" or not path.is_file():
                raise SettingsError(f"{shown}: only .safetensors files can be used")
            check_tensors(path)
        return path


def prepare_job(
    request: JobRequest, names: Names, jobs: JobFolder, settings: ServiceSettings, onnx: bool
) -> Job:
    """Check a request and write the option file of its job.

    Returns:
        A job that waits; it is not in the queue yet.

    Raises:
        WorkbenchError: with the problems that ``adapt`` would report. Nothing is left behind.
    """
    job_id = new_id()
    folder = jobs.of(job_id)
    usable, problems = _usable(request)
    with (
        _removed_after_failure(folder),
        _shown_paths(names, folder, settings.domains),
        _together(problems),
    ):
        domain = _write_options(usable, names, folder)
        options = read_options(folder / OPTIONS_FILE, TYPES["adapt"], "adapt")
        options.setdefault("domains", settings.domains)
        _check(options | {"data_dir": settings.data_dir})
    title = f"{_short(request.source)} → {domain or _short(request.target)}"
    kept = {**vars(request), "options": dict(request.options or {})}
    return Job(job_id, title, kept, onnx)


def _usable(request: JobRequest) -> tuple[JobRequest, list[str]]:
    """The parts of a request that can be checked further, and lines about the others.

    Raises:
        SettingsError: when nothing can be checked, because a text is none.
    """
    options = request.options or {}
    problems = _odd_texts(vars(request))
    if problems:
        raise SettingsError(*problems, *_odd_texts(options), *_unknown_options(options))
    usable, model = {}, _check_model(request.model)
    for name, value in options.items():
        wrong = [*_odd_texts({name: value}), *_unknown_options({name: value})]
        problems += wrong
        if not wrong:
            usable[name] = value
    return replace(request, options=usable, model="" if model else request.model), problems + model


@contextmanager
def _together(problems: Sequence[str]) -> Iterator[None]:
    """Report earlier problems together with those that are found inside."""
    try:
        yield
    except WorkbenchError as error:
        if not problems:
            raise
        raise SettingsError(*problems, *error.problems) from None
    if problems:
        raise SettingsError(*problems)


def _check(options: Mapping[str, Any]) -> None:
    """The checks that ``adapt`` makes before it loads images."""
    from workbench.adaptation.preparation import check_call
    from workbench.adaptation.tasks.smallest_network import check_smallest

    check_smallest(check_call(dict(options)).task)


def _write_options(request: JobRequest, names: Names, folder: Path) -> str:
    """Write the option file; return the name of a domain that is made of a folder, or ""."""
    problems = []
    source = names.path("source", request.source, IMAGES)
    if source is None and request.source not in (*SOURCES, IMAGENET):
        known = [*SOURCES, IMAGENET]
        problems.append(
            f"source: unknown value '{request.source}'{did_you_mean(request.source, known)}"
        )
    weights = names.path("weights", request.weights, WEIGHTS)
    if weights is None and request.weights not in ("", DEFAULT_WEIGHTS):
        problems.append(f"weights: '{request.weights}' is neither an upload nor {DEFAULT_WEIGHTS}")
    if problems:
        raise SettingsError(*problems)
    folder.mkdir(parents=True)
    options: dict[str, Any] = {"source": str(source or request.source), "target": request.target}
    images = names.path("target", request.target, IMAGES)
    domain = ""
    if images is not None:
        domain = request.name or plain_name(images.name)
        place = folder / "domains"
        write_domain(place, domain, folder_text(domain, images.resolve(), (), "", place))
        options |= {"target": domain, "domains": str(place)}
    elif request.target == request.source:
        options["target"] = options["source"]
    if request.model:
        options["model"] = request.model
    if request.weights:
        options["weights"] = str(weights or request.weights)
    text = yaml.safe_dump(options | dict(request.options or {}), sort_keys=False)
    (folder / OPTIONS_FILE).write_text(text, encoding="utf-8")
    return domain


def _odd_texts(values: Mapping[str, Any]) -> list[str]:
    """Lines for values that are no plain text, numbers or lists of them."""
    problems = []
    for name, value in values.items():
        parts = value if isinstance(value, list) else [value]
        for part in parts if name != "options" else ():
            if not isinstance(part, (str, int, float, NoneType)):
                problems.append(f"{name}: is not a text, a number, true, false or a list of them")
            elif isinstance(part, str) and not (part.isprintable() and len(part) <= _LONGEST_TEXT):
                limit = f"more than {_LONGEST_TEXT} characters"
                problems.append(f"{name}: has {limit}, or some that cannot be printed")
    return list(dict.fromkeys(problems))


def _unknown_options(options: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in options:
        if name in _OWN:
            problems.append(f"options: '{name}' is a field of its own; remove it from the options")
        elif name in _WITHHELD:
            problems.append(f"options: '{name}' is set by the server; remove it")
        elif name not in OPTIONS:
            problems.append(f"options: unknown option '{name}'{did_you_mean(name, list(OPTIONS))}")
    return problems


def _check_model(model: str) -> list[str]:
    if not model or _MODEL.fullmatch(model):
        return []
    return [
        f"model: '{model}' cannot be used here; choose a network of the workbench, or "
        "torchvision:NAME"
    ]


@contextmanager
def _removed_after_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _shown_paths(names: Names, folder: Path, domains: Path | None) -> Iterator[None]:
    """Hide the server's folders in messages to clients."""
    try:
        yield
    except WorkbenchError as error:
        places = (folder, names.uploads.folder, names.root, *_domain_folders(domains))
        error.problems = tuple(without_paths(problem, *places) for problem in error.problems)
        raise


def _domain_folders(domains: Path | None) -> list[Path]:
    try:
        return [Path(str(place)) for place in search_path(domains)]
    except WorkbenchError:
        return []


def without_paths(text: str, *folders: Path | None) -> str:
    """The text with paths relative to these folders."""
    for folder in folders:
        if folder is not None:
            for path in (str(folder), os.path.realpath(folder)):
                text = text.replace(f"{path}/", "").replace(path, folder.name)
    return text


def _short(text: str) -> str:
    """A reference for a title: without the kind and the folders."""
    return text.removeprefix(ROOT).removeprefix(UPLOAD).rpartition("/")[2]
