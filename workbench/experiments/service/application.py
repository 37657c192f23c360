"""The FastAPI application: routes, errors, and the start and end of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from workbench import __version__
from workbench.errors import WorkbenchError
from workbench.experiments.service import api, pages
from workbench.experiments.service.access import Guard
from workbench.experiments.service.rejections import RejectionError
from workbench.experiments.service.service import Service

_STATIC = Path(__file__).parent / "static"
_DESCRIPTION = (
    "Upload or name a trained network and a target domain; get a smaller network. "
    'Errors have the form {"problems": [one line for each problem]}.'
)


def create_app(
    service: Service,
    say: Callable[[str], None] = lambda line: None,
    on_ready: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application of a service.

    Args:
        say: called with warnings.
        on_ready: called when the service answers.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for problem in service.start():
            say(problem)
        on_ready()
        try:
            yield
        finally:
            service.queue.stop()

    app = FastAPI(
        title="pfa-workbench",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # the pages of FastAPI load their code from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    shown = pages.Pages(service)
    app.include_router(api.routes(service))
    app.include_router(pages.routes(shown))
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.add_middleware(Guard, settings=service.settings)
    _add_errors(app, shown)
    return app


def _add_errors(app: FastAPI, shown: pages.Pages) -> None:
    def answer(request: Request, error: WorkbenchError) -> Response:
        if not request.url.path.startswith("/api/"):
            return shown.problem(error)
        status = error.status if isinstance(error, RejectionError) else 422
        wait = error.retry_after if isinstance(error, RejectionError) else None
        headers = {} if wait is None else {"retry-after": str(wait)}
        return JSONResponse({"problems": list(error.problems)}, status, headers)

    @app.exception_handler(WorkbenchError)
    def explain(request: Request, error: WorkbenchError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    def explain_values(request: Request, error: RequestValidationError) -> Response:
        return answer(request, RejectionError(422, *map(_problem, error.errors())))

    @app.exception_handler(HTTPException)
    def explain_status(request: Request, error: HTTPException) -> Response:
        detail = "there is no such page" if error.status_code == 404 else str(error.detail)
        return answer(request, RejectionError(error.status_code, detail))


def _problem(found: Mapping[str, Any]) -> str:
    """One line for a field that FastAPI rejected."""
    if found["type"] == "json_invalid":
        _, before = found["loc"]
        return f"the body is not JSON: {found['ctx']['error']} at character {before + 1}"
    return f"{'.'.join(str(part) for part in found['loc'][1:]) or 'body'}: {found['msg']}"
