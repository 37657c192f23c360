"""The form of a new job: from its text fields and files to a request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import FormData, UploadFile

from workbench.adaptation.options.option_files import TYPES, read_options
from workbench.errors import SettingsError, WorkbenchError
from workbench.experiments.service.job_requests import UPLOAD, JobRequest, without_paths
from workbench.experiments.service.upload_store import UploadStore

#: Options that have a field of their own in the form, with the type of their values.
OPTION_FIELDS: dict[str, type] = {
    "epochs": int, "source_epochs": int, "seeds": int, "batch_size": int, "lr": float,
    "schedule": str, "footprint": str,
}  # fmt: skip
_TEXTS = (
    "source", "target", "weights", "model", "name", "root_images", "root_weights", "more", "onnx",
)  # fmt: skip
_FILES = {"images": "target", "weights_file": "weights"}  # a file takes the place of a field
_ROOTS = {"root_images": "target", "root_weights": "weights"}
_LONGEST = 20_000  # characters of a field
MOST_FIELDS = 40


def text_values(form: FormData) -> dict[str, str]:
    """The text fields that were filled in."""
    values = {name: form.get(name) for name in (*_TEXTS, *OPTION_FIELDS)}
    return {
        name: value.strip()[:_LONGEST]
        for name, value in values.items()
        if isinstance(value, str) and value.strip()
    }


def keep_files(form: FormData, values: dict[str, str], uploads: UploadStore) -> None:
    """Keep the files of the form as uploads, and name them in the values.

    Raises:
        RejectionError: when a file is rejected.
    """
    for field, name in _FILES.items():
        file = form.get(field)
        if isinstance(file, UploadFile) and file.filename:
            values[name] = f"{UPLOAD}{uploads.add(file.filename, file.file).id}"
            values.pop(next(key for key, other in _ROOTS.items() if other == name), None)


def request_of(values: Mapping[str, str]) -> JobRequest:
    """The request of a filled form.

    Raises:
        SettingsError: when a value is missing, or the further options are not valid.
    """
    named = {
        name: values.get(name, "") for name in ("source", "target", "weights", "model", "name")
    }
    for field, name in _ROOTS.items():
        if field in values:
            named[name] = f"root:{values[field]}"
    if not named["target"]:
        raise SettingsError("target: choose a known domain, or upload images")
    options: dict[str, Any] = {
        name: _converted(values[name], kind)
        for name, kind in OPTION_FIELDS.items()
        if name in values
    }
    return JobRequest(**named, options=_further(values.get("more", "")) | options)


def _converted(text: str, kind: type) -> Any:
    """A number, or the text itself, which the checks of the options then report."""
    with suppress(ValueError):
        return kind(text)
    return text


def _further(text: str) -> dict[str, Any]:
    """Options from lines as in an option file."""
    if not text:
        return {}
    with TemporaryDirectory(prefix="workbench-") as folder:
        path = Path(folder) / "more options"
        path.write_text(f"{text}\n", encoding="utf-8")
        try:
            return read_options(path, TYPES["adapt"], "adapt")
        except WorkbenchError as error:
            error.problems = tuple(without_paths(line, path.parent) for line in error.problems)
            raise
