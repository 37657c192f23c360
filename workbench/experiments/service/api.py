"""The JSON interface under ``/api``; FastAPI makes its OpenAPI description from this module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from workbench.data.catalog import IMAGENET, SOURCES
from workbench.experiments.service.access import REPORT_POLICY
from workbench.experiments.service.event_stream import EventStreams
from workbench.experiments.service.job_records import LOG_FILE
from workbench.experiments.service.job_requests import OPTIONS, JobRequest
from workbench.experiments.service.job_status import FILES
from workbench.experiments.service.service import Service
from workbench.experiments.service.upload_store import Upload
from workbench.models.networks import NETWORKS
from workbench.store.stored_results import OPTIONS_FILE, REPORT_FILE

_JSON_TYPES = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "array",
    type(None): "null",
}  # fmt: skip
_MOST_CLASSES = 1000


def _option_schema(kinds: tuple[type, ...]) -> dict[str, Any]:
    found = [{"type": _JSON_TYPES[kind]} for kind in kinds if kind in _JSON_TYPES]
    return found[0] if len(found) == 1 else {"anyOf": found}


class NewJob(BaseModel):
    """The body of ``POST /api/jobs``."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        description="Data set that the network was trained on: digits, cifar10, cifar100, "
        "imagenet, or a folder of images as upload:ID or root:PATH.",
        examples=["digits"],
    )
    target: str = Field(
        description="Domain to specialise for: a known domain, or a folder of images as upload:ID "
        "or root:PATH.",
        examples=["digits-3v8"],
    )
    weights: str = Field(
        "",
        description="Weights of the source network: upload:ID, root:PATH, or DEFAULT for those of "
        "torchvision. Empty: the source network is trained first.",
    )
    model: str = Field("", description="Architecture. Empty: depends on the source.")
    name: str = Field("", description="Name of the domain that is made of a folder.")
    onnx: bool = Field(True, description="Make an ONNX file if the server has the libraries.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Further options of 'workbench adapt', named as in an option file.",
        examples=[{"epochs": 10, "seeds": 2}],
        json_schema_extra={
            "properties": {name: _option_schema(kinds) for name, kinds in OPTIONS.items()},
            "additionalProperties": False,
        },
    )


def routes(service: Service) -> APIRouter:
    """All routes of the interface."""
    router = APIRouter(prefix="/api")
    _add_uploads(router, service)
    _add_jobs(router, service)
    _add_results(router, service)

    @router.get("/choices", tags=["jobs"])
    def choices() -> dict[str, Any]:
        """What a job may name: data sets, domains, networks and options."""
        return {
            "sources": [*SOURCES, IMAGENET],
            "domains": service.domains(),
            "models": [*NETWORKS, "torchvision:NAME"],
            "options": list(OPTIONS),
            "root": service.settings.root is not None,
            "upload_mb": service.settings.upload_mb,
        }

    return router


def _add_uploads(router: APIRouter, service: Service) -> None:
    @router.post("/uploads", status_code=201, tags=["uploads"])
    def upload(
        file: Annotated[
            UploadFile,
            File(description="Weights (.safetensors), or images (.zip, a folder for each class)."),
        ],
    ) -> Upload:
        """Upload weights or images. The same file again has the same id."""
        return service.uploads.add(file.filename or "", file.file)

    @router.get("/uploads", tags=["uploads"])
    def uploads() -> list[Upload]:
        """All uploads."""
        return service.uploads.all()

    @router.delete("/uploads/{upload_id}", status_code=204, tags=["uploads"])
    def delete_upload(upload_id: str) -> None:
        """Delete an upload that no waiting or running job needs."""
        service.remove_upload(upload_id)


def _add_jobs(router: APIRouter, service: Service) -> None:
    streams = EventStreams(service)

    @router.post("/jobs", status_code=201, tags=["jobs"])
    def start_job(new: NewJob, response: Response) -> dict[str, Any]:
        """Check an adaptation and add it to the queue; 429 when the queue is full."""
        asked = new.model_dump(exclude={"onnx"})
        job = service.submit(JobRequest(**asked), new.onnx)
        response.headers["location"] = f"/api/jobs/{job.id}"
        return service.files.status(job)

    @router.get("/jobs", tags=["jobs"])
    def jobs() -> list[dict[str, Any]]:
        """All jobs, newest first."""
        return [service.files.status(job) for job in service.queue.all()]

    @router.get("/jobs/{job_id}", tags=["jobs"])
    def job(job_id: str) -> dict[str, Any]:
        """State and progress of a job."""
        return service.files.status(service.queue.get(job_id))

    @router.get("/jobs/{job_id}/events", tags=["jobs"], response_class=StreamingResponse)
    def events(job_id: str) -> StreamingResponse:
        """The same as server-sent events: an event 'job' for each change, until the job ends."""
        headers = {"x-accel-buffering": "no"}  # nginx hands on each event at once
        return StreamingResponse(streams.of(job_id), 200, headers, "text/event-stream")

    @router.post("/jobs/{job_id}/cancel", tags=["jobs"])
    def cancel(job_id: str) -> dict[str, Any]:
        """Cancel a job. What it has trained is kept."""
        return service.files.status(service.queue.cancel(job_id))

    @router.post("/jobs/{job_id}/restart", tags=["jobs"])
    def restart(job_id: str) -> dict[str, Any]:
        """Continue a job that was cancelled or failed."""
        return service.files.status(service.queue.restart(job_id))

    @router.delete("/jobs/{job_id}", status_code=204, tags=["jobs"])
    def delete_job(job_id: str) -> None:
        """Delete a job that has ended. Its runs stay in the store."""
        service.queue.remove(job_id)


def _add_results(router: APIRouter, service: Service) -> None:
    @router.get("/jobs/{job_id}/result", tags=["results"])
    def result(job_id: str) -> dict[str, Any]:
        """The verdict and the results of all networks, as 'workbench adapt --json' prints them."""
        return service.files.result(service.queue.get(job_id))

    @router.get("/jobs/{job_id}/files", tags=["results"])
    def files(job_id: str) -> list[dict[str, Any]]:
        """The files of a job, with their sizes."""
        return service.files.files(service.queue.get(job_id))

    @router.get("/jobs/{job_id}/files/{name}", tags=["results"], response_class=FileResponse)
    def file(job_id: str, name: str) -> Response:
        """Download one file of a job."""
        return _answer(service, service.files.file(service.queue.get(job_id), name), name)

    @router.post("/jobs/{job_id}/predict", tags=["results"])
    def predict(
        job_id: str,
        file: Annotated[UploadFile, File(description="An image.")],
        top: Annotated[int, Form(ge=1, le=_MOST_CLASSES, description="Number of classes.")] = 3,
    ) -> dict[str, Any]:
        """Classes and probabilities of an image with the recommended network."""
        return service.predict(job_id, file.file, top)


def _answer(service: Service, path: Path, name: str) -> Response:
    """A file as the answer to a request."""
    kind, _ = FILES[name]
    if name == REPORT_FILE:
        policy = {"content-security-policy": REPORT_POLICY}
        return FileResponse(path, media_type=kind, headers=policy)
    if name in (OPTIONS_FILE, LOG_FILE):  # they name places on this machine
        text = service.files.shown(path.read_text(encoding="utf-8", errors="replace"))
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return PlainTextResponse(text, media_type=kind, headers=headers)
    return FileResponse(path, media_type=kind, filename=name)
