"""Sets a request's client and scheme from the headers of trusted proxies.

It replaces uvicorn's own middleware, which can't count proxies, believes the first address if it
trusts all, and accepts any text as an address.
"""

from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.proxies import TrustedProxies

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"

# The schemes that a proxy may name, and the scheme of a WebSocket that each one means.
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class ForwardedMiddleware:
    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self.app = app
        self._proxies = proxies
        # Behind proxies, few peers connect.
        self._trusts = lru_cache(maxsize=4096)(proxies.trusts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope.get("client")
            if self._trusts(peer[0] if peer else None):
                self._believe(scope)
        await self.app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        addresses = [value for name, value in scope["headers"] if name == FOR]
        if addresses:
            client = self._proxies.client(b",".join(addresses).decode("latin-1"))
            if client is not None:
                # The client's port is unknown.
                scope["client"] = (client, 0)
        schemes = [value for name, value in scope["headers"] if name == PROTO]
        if schemes:
            # The nearest proxy's entry is the last one.
            scheme = schemes[-1].decode("latin-1").rpartition(",")[2].strip().lower()
            if scheme in SCHEMES:
                scope["scheme"] = SCHEMES[scheme] if scope["type"] == "websocket" else scheme
