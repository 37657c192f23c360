"""The pages for a browser: jobs, a form for a new one, and one page for each job.

They work without JavaScript; with it, the page of a job shows its progress live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workbench.data.catalog import IMAGENET, SOURCES
from workbench.errors import WorkbenchError
from workbench.experiments.service.access import COOKIE, Tokens
from workbench.experiments.service.api_calls import calls_of
from workbench.experiments.service.form_values import (
    MOST_FIELDS,
    keep_files,
    request_of,
    text_values,
)
from workbench.experiments.service.job_records import DONE, FINAL, Job
from workbench.experiments.service.network_rows import COLUMNS, network_rows
from workbench.experiments.service.rejections import RejectionError
from workbench.experiments.service.service import Service
from workbench.experiments.service.upload_store import IMAGES, WEIGHTS
from workbench.experiments.service.worker_processes import has_onnx
from workbench.models.networks import NETWORKS
from workbench.reporting.tables import byte_count, percent
from workbench.store.stored_results import REPORT_FILE
from workbench.training.settings import SCHEDULES
from workbench.training.time_left import duration

_TEMPLATES = Path(__file__).parent / "templates"
_TOP = 5  # classes of a prediction on the page


@dataclass(frozen=True)
class Pages:
    """Renders the templates; every value is escaped."""

    service: Service

    @cached_property
    def _templates(self) -> Environment:
        found = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        found.filters |= {"moment": _moment, "size": byte_count, "percent": percent}
        return found

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """One page."""
        shared = {"has_token": bool(self.service.settings.token)}
        return HTMLResponse(self._templates.get_template(name).render(shared | values), status)

    def problem(self, error: WorkbenchError) -> HTMLResponse:
        """The page of a request that failed."""
        return self._with_retry(
            self.page("problem.html", _status(error), problems=error.problems), error
        )

    def form(self, values: dict[str, str], error: WorkbenchError | None = None) -> HTMLResponse:
        """The form of a new job, with the problems of the last try."""
        service, uploads = self.service, self.service.uploads.all()
        page = self.page(
            "new_job.html",
            200 if error is None else _status(error),
            values=values or {"source": "digits", "onnx": "yes"},
            problems=() if error is None else error.problems,
            sources=[*SOURCES, IMAGENET],
            domains=service.domains(),
            models=list(NETWORKS),
            schedules=SCHEDULES,
            weights=[upload for upload in uploads if upload.kind == WEIGHTS],
            images=[upload for upload in uploads if upload.kind == IMAGES],
            has_root=service.settings.root is not None,
            has_onnx=has_onnx(),
            upload_mb=service.settings.upload_mb,
        )
        return page if error is None else self._with_retry(page, error)

    def job(self, job: Job, error: WorkbenchError | None = None, **shown: Any) -> HTMLResponse:
        """The page of one job, with a prediction or the reason why there is none."""
        files, result = self.service.files, None
        if job.state == DONE:
            result = files.result(job)
        found = files.files(job)
        page = self.page(
            "job.html",
            200 if error is None else _status(error),
            job=files.status(job),
            took=duration(job.ended - job.started) if job.ended and job.started else "",
            is_final=job.state in FINAL,
            result=result,
            columns=COLUMNS,
            rows=network_rows(result) if result else (),
            files=found,
            has_report=any(file["name"] == REPORT_FILE for file in found),
            prediction=shown.get("prediction"),
            image=shown.get("image", ""),
            problems=() if error is None else error.problems,
        )
        return page if error is None else self._with_retry(page, error)

    def _with_retry(self, page: HTMLResponse, error: WorkbenchError) -> HTMLResponse:
        if isinstance(error, RejectionError) and error.retry_after is not None:
            page.headers["retry-after"] = str(error.retry_after)
        return page


def routes(pages: Pages) -> APIRouter:
    """All pages."""
    router = APIRouter(include_in_schema=False)
    _add_lists(router, pages)
    _add_form(router, pages)
    _add_job(router, pages)
    _add_login(router, pages)
    return router


def _add_lists(router: APIRouter, pages: Pages) -> None:
    service = pages.service

    @router.get("/")
    def jobs() -> HTMLResponse:
        return pages.page(
            "jobs.html", jobs=[service.files.status(job) for job in service.queue.all()]
        )

    @router.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        api = request.app.openapi()
        return pages.page("docs.html", about=api["info"], calls=calls_of(api))

    @router.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}


def _add_form(router: APIRouter, pages: Pages) -> None:
    service = pages.service

    @router.get("/new")
    def new_job() -> HTMLResponse:
        return pages.form({})

    @router.post("/new", response_model=None)
    async def start_job(request: Request) -> HTMLResponse | RedirectResponse:
        async with request.form(max_files=2, max_fields=MOST_FIELDS) as form:
            values = text_values(form)

            def submit() -> HTMLResponse | RedirectResponse:
                try:
                    keep_files(form, values, service.uploads)
                    job = service.submit(request_of(values), "onnx" in values)
                except WorkbenchError as error:
                    return pages.form(values, error)
                return RedirectResponse(f"/jobs/{job.id}", 303)

            return await run_in_threadpool(submit)


def _add_job(router: APIRouter, pages: Pages) -> None:
    service = pages.service

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> HTMLResponse:
        return pages.job(service.queue.get(job_id))

    @router.post("/jobs/{job_id}/predict")
    def predict(job_id: str, file: Annotated[UploadFile, File()]) -> HTMLResponse:
        job, name = service.queue.get(job_id), file.filename or ""
        try:
            found = service.predict(job_id, file.file, _TOP)
        except WorkbenchError as error:
            return pages.job(job, error, image=name)
        pairs = list(zip(found["classes"], found["probabilities"], strict=True))
        return pages.job(job, prediction=pairs, image=name)

    @router.post("/jobs/{job_id}/{action}")
    def change(job_id: str, action: str) -> RedirectResponse:
        actions = {"cancel": service.queue.cancel, "restart": service.queue.restart}
        if action == "delete":
            service.queue.remove(job_id)
            return RedirectResponse("/", 303)
        if action not in actions:
            raise RejectionError(404, "there is no such page")
        actions[action](job_id)
        return RedirectResponse(f"/jobs/{job_id}", 303)


def _add_login(router: APIRouter, pages: Pages) -> None:
    tokens = Tokens(pages.service.settings.token)

    @router.get("/login")
    def login(next: str = "/") -> HTMLResponse:  # noqa: A002 - the name in the address
        return pages.page("login.html", next=_own_page(next), problems=())

    @router.post("/login", response_model=None)
    def enter(
        request: Request,
        token: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",  # noqa: A002 - the name in the form
    ) -> HTMLResponse | RedirectResponse:
        target = _own_page(next)
        if not tokens.token or not tokens.matches(token.strip()):
            problems = ("this is not the token of the server",)
            return pages.page("login.html", 401, next=target, problems=problems)
        answer = RedirectResponse(target, 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, tokens.cookie(), httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post("/logout")
    def leave() -> RedirectResponse:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer


def _own_page(path: str) -> str:
    """The path of a page of this server; "/" for anything that leads elsewhere."""
    parts = urlsplit(path)
    is_own = path.startswith("/") and not path.startswith("//") and path.isprintable()
    return path if is_own and not parts.netloc and "\\" not in path else "/"


def _status(error: WorkbenchError) -> int:
    return error.status if isinstance(error, RejectionError) else 422


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
