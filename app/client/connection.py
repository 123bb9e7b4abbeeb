"""Requests that are answered, refused or given up in a known way: retries, problems, addresses."""

import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from socket import gaierror
from typing import Self, TypeVar

import anyio
import httpx2
from pydantic import BaseModel, ValidationError

from app.client.answers import Answer, Problem
from app.client.authentication import Authentication
from app.client.errors import ClientError, NotLoggedIn, Refused, Unreachable

PREFIX = "/api/v1"

# Seconds between tries: a server that restarts is back by then. After the last there is none.
WAITS = (0.2, 0.4, 0.8, None)

# Seconds of a Retry-After beyond which it is the person who comes again, not the command.
LONGEST_WAIT = 10

TIMEOUT = httpx2.Timeout(60, connect=10)

# A port is a number of 16 bits (RFC 9293); httpx2 accepts others, and a socket does not.
LAST_PORT = 65535

# Values that are None are left out.
Query = Mapping[str, str | int | bool | list[str] | None]

# A request, out of the headers that say whose it is.
Build = Callable[[Mapping[str, str]], httpx2.Request]


Model = TypeVar("Model", bound=Answer)


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted: to load them takes 30 ms, and is done once."""
    return httpx2.create_ssl_context()


class Again(Enum):
    """When a request is sent once more."""

    NEVER = auto()
    UNSENT = auto()
    """If it never got there."""
    ALWAYS = auto()
    """Done twice, it has the effect of once."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send; `opened` makes them anew for each try."""

    opened: Callable[[], AsyncIterator[bytes]]
    size: int | None
    repeatable: bool


def base_url(text: str) -> str:
    """The server's address as it was typed, checked. Raises `ClientError`."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeEncodeError):
        url = httpx2.URL("")
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or not 0 <= (url.port or 0) <= LAST_PORT
        or url.userinfo
        or url.query
    ):
        raise ClientError(f"{text!r} is not a valid server URL: write it as https://host:port")
    return text.rstrip("/")


def _tls_reason(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return getattr(error, "verify_message", "") or error.reason or str(error)
        error = error.__cause__ or error.__context__
    return None


def _reason(error: BaseException) -> str:
    """What the system said: `Connection refused`, not `All connection attempts failed`."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            continue
        if isinstance(cause, gaierror) and cause.strerror:
            return cause.strerror
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _problem(response: httpx2.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def refusal(response: httpx2.Response) -> Refused:
    """The answer as one line: what is wrong, and with which field."""
    status = response.status_code
    if response.is_redirect:
        place = response.headers.get("Location", "elsewhere")
        return Refused(status, None, f"the server is at {place}: log in with that --url")
    problem = _problem(response)
    if problem is None or not problem.title:
        asked = f"{response.request.method} {response.request.url.path}"
        return Refused(status, problem, f"{asked} was answered with {status}, and no reason")
    detail = "; ".join(f"{error.field}: {error.detail}" for error in problem.errors)
    text = f"{problem.title}: {detail or problem.detail}"
    if status >= 500 and problem.request_id:
        text += f" (request {problem.request_id})"
    return Refused(status, problem, text)


class Connection:
    """To one server. Every method raises `ClientError`, and nothing of httpx2's."""

    def __init__(self, url: str, authentication: Authentication) -> None:
        self.url = base_url(url)
        self.authentication = authentication
        try:
            self._http = httpx2.AsyncClient(
                base_url=self.url + PREFIX, timeout=TIMEOUT, verify=_trusted()
            )
        except OSError as error:  # ssl's own errors included
            raise ClientError(f"can't load SSL_CERT_FILE or SSL_CERT_DIR: {error}") from None
        except (ValueError, httpx2.InvalidURL) as error:
            raise ClientError(f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: {error}") from None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        sent: BaseModel | None = None,
        form: Mapping[str, str] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        again: Again = Again.ALWAYS,
    ) -> httpx2.Response:
        """The whole answer."""
        every = dict(headers or {})
        if sent is not None:
            every["Content-Type"] = "application/json"
        if body is not None and body.size is not None:
            every["Content-Length"] = str(body.size)

        def build(proof: Mapping[str, str]) -> httpx2.Request:
            content = body.opened() if body else sent.model_dump_json() if sent else None
            return self._http.build_request(
                method,
                path,
                params=_asked(query or {}),
                data=form,
                content=content,
                headers={**every, **proof},
            )

        return await self._answer(build, again=again, whole=True)

    def read(self, model: type[Model], content: bytes | str) -> Model:
        try:
            return model.model_validate_json(content)
        except ValidationError:
            raise ClientError(f"{self.url} does not answer as Heavylift does") from None

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str], patience: httpx2.Timeout = TIMEOUT
    ) -> AsyncIterator[httpx2.Response]:
        """An answer to be read as it comes; what happens meanwhile is httpx2's to raise."""

        def build(proof: Mapping[str, str]) -> httpx2.Request:
            return self._http.build_request(
                "GET", path, headers={**headers, **proof}, timeout=patience
            )

        response = await self._answer(build, again=Again.ALWAYS, whole=False)
        try:
            yield response
        finally:
            await response.aclose()

    async def _answer(
        self, build: Build, *, again: Again, whole: bool, renewed: bool = False
    ) -> httpx2.Response:
        unsent = True
        for wait in WAITS:
            later: float | None = wait
            try:
                response = await self._once(build, whole=whole)
            except Unreachable as error:
                error.unsent = unsent = unsent and error.unsent
                repeated = again is Again.ALWAYS or (again is Again.UNSENT and error.unsent)
                if later is None or not (repeated and error.passing):
                    raise
            else:
                if response.is_success:
                    return response
                proof_failed = response.status_code == 401 and again is not Again.NEVER
                if proof_failed and not renewed and await self.authentication.renew():
                    return await self._answer(build, again=again, whole=whole, renewed=True)
                later = _retry_after(response, wait)
                if later is None or again is not Again.ALWAYS:
                    raise self._refused(response)
            await anyio.sleep(later)
        raise AssertionError("the last of the waits is none")

    async def _once(self, build: Build, *, whole: bool) -> httpx2.Response:
        proof = await self.authentication.headers()
        try:
            request = build(proof)
        except httpx2.InvalidURL as error:
            raise ClientError(f"no request can carry this: {error}; shorten it") from None
        try:
            response = await self._http.send(request, stream=True)
            if whole or not response.is_success:
                await response.aread()
        except httpx2.LocalProtocolError as error:
            raise ClientError(f"what was sent changed while it was read: {error}") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise self._unreachable(error) from None
        return response

    def _refused(self, response: httpx2.Response) -> ClientError:
        refused = refusal(response)
        if response.status_code == 401 and not refused.is_about("invalid-credentials"):
            return NotLoggedIn(self.authentication.mend(self.url))
        return refused

    def _unreachable(self, error: Exception) -> Unreachable:
        unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        if (reason := _tls_reason(error)) is not None:
            text = f"{self.url} can't be spoken to over TLS: {reason}"
            return Unreachable(text, unsent=unsent, passing=False)
        if isinstance(error, httpx2.TimeoutException):
            return Unreachable(f"{self.url} does not answer in time", unsent=unsent)
        return Unreachable(f"can't reach {self.url}: {_reason(error)}", unsent=unsent)


def _asked(query: Query) -> dict[str, str | int | bool | list[str]]:
    return {name: value for name, value in query.items() if value is not None}


def _retry_after(response: httpx2.Response, otherwise: float | None) -> float | None:
    """In seconds; a date, the header's other form (RFC 9110, section 10.2.3), is ours to ignore."""
    if response.status_code != 503 or otherwise is None:
        return None
    said = response.headers.get("Retry-After", "")
    wait = float(said) if said.isdecimal() else otherwise
    return wait if wait <= LONGEST_WAIT else None
