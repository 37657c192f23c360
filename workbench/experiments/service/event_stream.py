"""Progress of a job as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from workbench.experiments.service.job_records import FINAL
from workbench.experiments.service.rejections import RejectionError, busy
from workbench.experiments.service.service import Service

_EVERY = 0.4  # seconds between two looks at a job
_KEEP_ALIVE = 15.0  # seconds without an event before a comment, so that proxies keep the connection
_MOST_STREAMS = 200


class EventStreams:
    """The open streams of a service; their number is limited."""

    def __init__(self, service: Service) -> None:
        self._service, self._open = service, 0

    def of(self, job_id: str) -> AsyncIterator[str]:
        """The events of a job: its status whenever it changes, until it ends.

        Raises:
            RejectionError: 404 when there is no such job, 429 when too many streams are open.
        """
        self._service.queue.get(job_id)
        if self._open >= _MOST_STREAMS:
            raise busy("too many clients follow a job; try again later")
        return self._events(job_id)

    async def _events(self, job_id: str) -> AsyncIterator[str]:
        self._open += 1
        last, silent = "", 0.0
        try:
            while not self._service.queue.stopping:
                try:
                    status = self._service.files.status(self._service.queue.get(job_id))
                except RejectionError:  # deleted meanwhile
                    return
                text = json.dumps(status)
                if text != last:
                    last, silent = text, 0.0
                    yield f"event: job\ndata: {text}\n\n"
                elif silent >= _KEEP_ALIVE:
                    silent = 0.0
                    yield ": still there\n\n"
                if status["state"] in FINAL:
                    return
                await asyncio.sleep(_EVERY)
                silent += _EVERY
        finally:
            self._open -= 1
