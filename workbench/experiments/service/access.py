"""Checks of every request before its body is read, and security headers of every answer.

- The Host header must name this server. Otherwise a web page could reach a server on the user's
machine under the page's own host name (DNS rebinding).
- A request that changes something must come from this server's own pages or from a program:
  browsers send Origin or Sec-Fetch-Site with the requests of other pages.
- With a token, a client sends it as ``Authorization: Bearer``, or has a cookie from the login page.
- Bodies are counted while they are read: a client may send no length, or a wrong one.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.errors import printable
from workbench.experiments.service.rejections import BUSY_SECONDS
from workbench.experiments.service.settings import MB, ServiceSettings, is_loopback

COOKIE = "workbench_session"
_SESSION_SECONDS = 12 * 3600
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/login", "/health")
_STATIC = "/static/"
_UPLOADS = ("/api/uploads", "/new")
_LARGEST_BODY = MB  # of requests without a file
_LARGEST_IMAGE = 32 * MB
_FORM_SPARE = MB  # fields of the form beside its files
#: Uploads that are read at the same time; more wait for their turn at the client.
MOST_UPLOADS = 4
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: A report is a file that others may have written: it runs in a sandbox without this server's
#: cookies, and cannot load or send anything.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval' blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer", with which browsers send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Tokens:
    """The token of the server and the cookies that stand for it.

    Attributes:
        token: "" if none is required.
    """

    token: str = field(repr=False)

    def matches(self, sent: str) -> bool:
        """Whether a client sent the token; the time does not depend on where it differs."""
        return hmac.compare_digest(sent.encode(), self.token.encode())

    def cookie(self) -> str:
        """A cookie for a client that sent the token; the token cannot be derived from it."""
        until = str(int(time.time()) + _SESSION_SECONDS)
        return f"{until}.{self._sign(until)}"

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the token or a valid cookie."""
        kind, _, sent = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.matches(sent.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        until, _, signature = (cookie.value if cookie else "").partition(".")
        signed = hmac.compare_digest(signature.encode(), self._sign(until).encode())
        return signed and until.isdecimal() and int(until) > time.time()

    def _sign(self, until: str) -> str:
        return hmac.new(self.token.encode(), until.encode(), hashlib.sha256).hexdigest()


class Guard:
    """The checks as ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings
        self._tokens = Tokens(settings.token)
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not allowed; hand on all others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        limit, answer = self._limit(scope), _with_headers(send)
        rejection = self._rejection(scope, headers) or _too_long(headers, limit)
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") in _UPLOADS
        if rejection is None and is_upload and self._uploading >= MOST_UPLOADS:
            rejection = _reject(429, "too many uploads at the same time; try again", BUSY_SECONDS)
        if rejection is not None:
            await rejection(scope, receive, answer)
            return
        self._uploading += is_upload
        try:
            await _count_body(self._app, limit, scope, receive, answer)
        finally:
            self._uploading -= is_upload

    def _limit(self, scope: Scope) -> int:
        """The largest body of a request."""
        path = scope["path"].rstrip("/")
        if scope["method"] in _SAFE_METHODS:
            return _LARGEST_BODY
        if path == "/api/uploads":
            return self._settings.upload_mb * MB + _FORM_SPARE
        if path == "/new":  # weights and images in one form
            return 2 * self._settings.upload_mb * MB + _FORM_SPARE
        return _LARGEST_IMAGE if path.endswith("/predict") else _LARGEST_BODY

    def _rejection(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            name = printable(host, 100)
            return _reject(
                400,
                f"the host '{name}' is not this server's; 'workbench serve --allow-host' adds it",
            )
        if scope["method"] not in _SAFE_METHODS and not _same_origin(headers, host):
            return _reject(403, "the request comes from another web page")
        path = scope["path"]
        is_open = path in _OPEN_PATHS or path.startswith(_STATIC)
        if is_open or not self._settings.token or self._tokens.accepts(headers):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"/login?next={quote(path)}", 303)
        response = _reject(401, "a token is required: send 'Authorization: Bearer TOKEN'")
        response.headers["www-authenticate"] = "Bearer"
        return response

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server; the port may be that of a proxy."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._settings.allow_host or is_loopback(name):
            return True
        if self._settings.is_loopback:
            return False
        # Rebinding needs a name, so every address is fine.
        return name in (self._settings.host, socket.gethostname().lower()) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from a page of this server or from a program that is no browser."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == host.lower() and "://" in origin
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _reject(status: int, problem: str, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse({"problems": [problem]}, status, headers)


def _too_long(headers: Mapping[str, str], limit: int) -> Response | None:
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        return PlainTextResponse("wrong Content-Length", 400)
    return _too_large(limit) if int(length) > limit else None


def _too_large(limit: int) -> Response:
    return _reject(413, f"the request is larger than {limit / MB:,.0f} MB")


async def _count_body(app: ASGIApp, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Call the app, but answer 413 when the body grows beyond the limit while it is read."""
    seen, too_large = 0, False

    async def counted() -> Message:
        nonlocal seen, too_large
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            too_large = True
            raise MultiPartException("too large")  # the form's reader closes its files
        return message

    async def unless_too_large(message: Message) -> None:
        if not too_large:
            await send(message)

    try:
        await app(scope, counted, unless_too_large)
    except MultiPartException:
        if not too_large:
            raise
    if too_large:
        await _too_large(limit)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    """Add the security headers that an answer does not have."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            given: list[Any] = list(message["headers"])
            names = {name.lower() for name, _ in given}
            given += [
                (name.encode(), value.encode())
                for name, value in _HEADERS.items()
                if name.encode() not in names
            ]
            message = {**message, "headers": given}
        await send(message)

    return answer
