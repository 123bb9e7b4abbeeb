"""The client and the scheme of a request, as trusted proxies in front of the API say.

Instead of uvicorn's own middleware: that knows no number of proxies, believes the first address
where it trusts all, and takes any text for an address.
"""

from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.proxies import TrustedProxies

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"

# What a proxy may say of a request, and what that makes of a WebSocket's.
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class ForwardedMiddleware:
    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self.app = app
        self._proxies = proxies
        # Peers are few where proxies are in front.
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
                # The port that it came from is not known.
                scope["client"] = (client, 0)
        schemes = [value for name, value in scope["headers"] if name == PROTO]
        if schemes:
            # The nearest proxy's: it stands last.
            scheme = schemes[-1].decode("latin-1").rpartition(",")[2].strip().lower()
            if scheme in SCHEMES:
                scope["scheme"] = SCHEMES[scheme] if scope["type"] == "websocket" else scheme
