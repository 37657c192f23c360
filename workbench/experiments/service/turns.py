"""A queue for slow work of the server itself: one piece at a time, few may wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.experiments.service.rejections import busy


class Turns:
    """Lets callers work one after the other.

    Args:
        most: callers that work or wait; others are rejected.
    """

    def __init__(self, most: int) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._turn = threading.Lock()

    @contextmanager
    def take(self, what: str) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            what: the callers, for the message.

        Raises:
            RejectionError: 429 when too many are waiting.
        """
        if not self._places.acquire(blocking=False):
            raise busy(f"too many {what} at the same time; try again")
        try:
            with self._turn:
                yield
        finally:
            self._places.release()
