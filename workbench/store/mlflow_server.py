"""The process of the MLflow UI: MLflow's own application, opened for trained networks.

MLflow's pages store in the browser whether they show generative AI or trained models. They start
with generative AI and an open assistant beside the page. The address is new at every start of
``workbench ui``, so the browser would never remember. The page therefore gets a script that sets
both once; later choices of the user are kept.

    python -m workbench.store.mlflow_server sqlite:////folder/mlflow.db 127.0.0.1 5000
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

#: Choices that MLflow 3.17 keeps in the browser's storage, by their keys there.
PRESET = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
_HEAD = b"<head>"
_SCRIPT = "".join(
    f"localStorage.getItem('{key}') ?? localStorage.setItem('{key}', '{value}');"
    for key, value in PRESET.items()
)
#: Headers by which a browser asks whether the page that it has is still the same.
_CACHED = (b"if-none-match", b"if-modified-since")


def main(uri: str, host: str, port: str) -> None:
    """Serve the UI of a store until the process is ended."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The settings that 'mlflow server' hands to its workers.
    os.environ.update(
        _MLFLOW_SERVER_FILE_STORE=uri,
        _MLFLOW_SERVER_REGISTRY_STORE=uri,
        _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/",
        _MLFLOW_SERVER_ARTIFACT_DESTINATION="./mlartifacts",
        _MLFLOW_SERVER_SERVE_ARTIFACTS="true",
        _MLFLOW_SGI_NAME="uvicorn",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    import uvicorn
    from mlflow.server.fastapi_app import app

    uvicorn.run(with_preset(app), host=host, port=int(port), log_level="warning")


def with_preset(app: Application) -> Application:
    """The application, with the script in its first page."""

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await app(scope, receive, send)
            return
        kept = [pair for pair in scope["headers"] if pair[0] not in _CACHED]
        page = _Page(send)
        await app({**scope, "headers": kept}, receive, page.take)

    return serve


class _Page:
    """Collects the first page, adds the script and sends it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def take(self, message: Message) -> None:
        """Take one message of the response."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body.replace(_HEAD, _HEAD + f"<script>{_SCRIPT}</script>".encode(), 1)
        length = str(len(body)).encode()
        headers = [
            (name, length if name.lower() == b"content-length" else value)
            for name, value in self._start["headers"]
        ]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main(*sys.argv[1:])
