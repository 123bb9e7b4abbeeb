"""One client's requests: checked, named by their route, and counted as what they were."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from gevent import GreenletExit
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from geventhttpclient.url import URL
from locust.contrib.fasthttp import (
    FastHttpSession,
    LocustBadStatusCode,
    ResponseContextManager,
)
from pydantic import BaseModel, JsonValue, ValidationError

from loadtests._answers import Tokens
from loadtests._failures import Failure, Unfinished, WrongContent, refused, unreached

API = "/api/v1"

Read = TypeVar("Read", bound=BaseModel)

# What the connection may do while a stream is read; Locust's own for whole answers are the same.
BROKEN = (OSError, HTTPConnectionClosed, HTTPParseError)

# Seconds that an access token is to be good for yet when a request is sent with it.
TOKEN_MARGIN = 60


class Account(NamedTuple):
    email: str
    password: str


class Event(NamedTuple):
    """Of a stream of server-sent events; `retry` alone where it says when to come again."""

    data: str
    retry: float | None


class Answer:
    """An answer that has the status it was to have."""

    def __init__(self, response: ResponseContextManager) -> None:
        self._response = response

    @property
    def content(self) -> bytes:
        content: bytes | None = self._response.content
        return content or b""

    def header(self, name: str) -> str:
        return _header(self._response, name)

    def read(self, model: type[Read]) -> Read:
        """Raises `WrongContent` where it is none."""
        return read(model, self.content)

    def require(self, holds: bool, otherwise: str) -> None:
        """Raises `WrongContent`; `otherwise` is a constant, it names a row of the report."""
        if not holds:
            raise WrongContent(otherwise)

    def events(self) -> Iterator[Event]:
        """Until the server ends the stream. Raises `Failure` where it is cut off."""
        self.require(
            self.header("Content-Type").startswith("text/event-stream"), "no stream of events"
        )
        stream = self._response._response  # its iter_content waits for a full block
        data, retry = "", None
        while True:
            try:
                line = bytes(stream.readline(b"\n")) if stream is not None else b""
            except BROKEN as error:
                raise unreached(error) from None
            if not line:
                return
            field, _, value = line.decode(errors="replace").rstrip("\r\n").partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data += value
            elif field == "retry" and value.isdecimal():
                retry = int(value) / 1000
            elif not field and not value and (data or retry is not None):
                yield Event(data, retry)
                data, retry = "", None


def read(model: type[Read], content: bytes | str) -> Read:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # An index would make a text of its own for each.
        field = ".".join("*" if isinstance(part, int) else part for part in first["loc"])
        raise WrongContent(f"{model.__name__}.{field}: {first['type']}") from None


class _OneTry(HTTPClientPool):
    """Clients that send a request once.

    As they come, they send one without a body again, some ten times, when its connection is closed
    before an answer: a server that drops requests would look like one that does not.
    """

    def get_client(self, url: str | URL) -> HTTPClient:
        client = super().get_client(url)
        client._connection_pool.size = -1  # it makes this many tries and two
        return client


class Session:
    """`late` says how many seconds after its intended start a request is sent."""

    def __init__(
        self, client: FastHttpSession, *, scenario: str, late: Callable[[], float] = lambda: 0.0
    ) -> None:
        client.client.clientpool = _OneTry(**client.client.clientpool.client_args)
        self._client = client
        self._scenario = scenario
        self._late = late
        self._tokens: Tokens | None = None
        self._good_until = 0.0

    def report(
        self, request_type: str, name: str, seconds: float, failure: Failure | None = None
    ) -> None:
        """An entry in Locust's statistics that is no request."""
        self._client.request_event.fire(
            request_type=request_type,
            name=f"{self._scenario} {name}",
            response_time=seconds * 1000,
            response_length=0,
            exception=failure,
            context={},
            response=None,
            url=None,
            start_time=time.time() - seconds,
        )

    @contextmanager
    def ask(
        self,
        method: str,
        route: str,
        *,
        status: int = 200,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        json: JsonValue = None,
        body: str | bytes | None = None,
        stream: bool = False,
        **path: object,
    ) -> Iterator[Answer]:
        """Send a request; `route` is a template that `path` fills.

        What the block raises as a `Failure` is counted with the request, and raised again.
        """
        late = self._late()
        began = time.perf_counter()
        extra: dict[str, Any] = {} if body is None else {"data": body}
        try:
            response = self._client.request(
                method,
                API + route.format(**path) + query,
                name=f"{self._scenario} {API}{route}",
                catch_response=True,
                stream=stream,
                headers=dict(headers or {}),
                json=json,
                **extra,
            )
        except GreenletExit:
            waited = time.perf_counter() - began + late
            self.report(method, API + route, waited, Unfinished("the run ended before the answer"))
            raise
        failed: Failure | None = None
        with response:
            response.request_meta["response_time"] += late * 1000
            try:
                _expect(response, status)
                yield Answer(response)
            except Failure as failure:
                failed = failure
                response.failure(failure)
            finally:
                if response._response is not None:
                    # A stream that was not read to its end would keep its place in the pool.
                    response.release()
            if failed is None:
                # Whatever Locust thinks of the status: it is the one that was to come.
                response.success()
        if failed is not None:
            raise failed

    # --- logged in --------------------------------------------------------------------------------

    def log_in(self, account: Account) -> Tokens:
        form = urlencode({"username": account.email, "password": account.password})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with self.ask("POST", "/auth/login", body=form, headers=headers) as answer:
            return self._hold(answer.read(Tokens))

    def refresh(self) -> Tokens:
        """With the refresh token at hand, which is good for this once."""
        held = self._tokens
        if held is None:
            raise RuntimeError("nobody is logged in")
        self._tokens = None
        with self.ask(
            "POST", "/auth/refresh", json={"refresh_token": held.refresh_token}
        ) as answer:
            tokens = answer.read(Tokens)
            answer.require(tokens.refresh_token != held.refresh_token, "the old refresh token")
            return self._hold(tokens)

    def log_out(self) -> None:
        held, self._tokens = self._tokens, None
        if held is not None:
            body: JsonValue = {"refresh_token": held.refresh_token}
            with self.ask("POST", "/auth/logout", status=204, json=body):
                pass

    def bearer(self, account: Account) -> dict[str, str]:
        """The account's header; logs in, or refreshes, where there is no token that is good."""
        if self._tokens is None:
            tokens = self.log_in(account)
        elif time.monotonic() > self._good_until:
            tokens = self.refresh()
        else:
            tokens = self._tokens
        return {"Authorization": f"Bearer {tokens.access_token}"}

    def _hold(self, tokens: Tokens) -> Tokens:
        self._tokens = tokens
        self._good_until = time.monotonic() + tokens.expires_in - TOKEN_MARGIN
        return tokens


def _expect(response: ResponseContextManager, status: int) -> None:
    error = response.request_meta["exception"]
    # Also of an answer that broke off: its status is there, its body is not.
    if error is not None and not isinstance(error, LocustBadStatusCode):
        raise unreached(error)
    if response.status_code != status:
        content_type = _header(response, "Content-Type")
        raise refused(response.status_code, content_type, response.content or b"")


def _header(response: ResponseContextManager, name: str) -> str:
    value = None if response.headers is None else response.headers.get(name)
    return value if isinstance(value, str) else ""
