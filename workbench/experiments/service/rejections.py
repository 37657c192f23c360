"""Requests that the service does not accept, with their HTTP status."""

from __future__ import annotations

from workbench.errors import WorkbenchError

BUSY_SECONDS = 5  # after which a client may try again what takes seconds


class RejectionError(WorkbenchError):
    """A request that is not accepted.

    Attributes:
        status: HTTP status, 4xx or 5xx.
        retry_after: seconds after which the same request may succeed; None if it will not.
    """

    def __init__(self, status: int, *problems: str, retry_after: int | None = None) -> None:
        super().__init__(*problems)
        self.status, self.retry_after = status, retry_after


def not_found(what: str) -> RejectionError:
    """The rejection of something that is not there."""
    return RejectionError(404, what)


def busy(what: str, retry_after: int = BUSY_SECONDS) -> RejectionError:
    """The rejection of a request that may succeed later."""
    return RejectionError(429, what, retry_after=retry_after)
