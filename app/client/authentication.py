"""How a request says whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Authentication(Protocol):
    async def headers(self) -> Mapping[str, str]:
        """Raises `NotLoggedIn`."""
        ...

    async def renew(self) -> bool:
        """The server took no notice of the last headers: whether there are others to try."""
        ...

    def mend(self, url: str) -> str:
        """What to tell who is not let in."""
        ...


class Nobody:
    async def headers(self) -> Mapping[str, str]:
        return {}

    async def renew(self) -> bool:
        return False

    def mend(self, url: str) -> str:
        return f"{url} wants a login: run `heavylift login`"


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token, as long as it lasts."""

    token: str = field(repr=False)

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def renew(self) -> bool:
        return False

    def mend(self, url: str) -> str:
        return f"{url} does not take the access token any more"


@dataclass(frozen=True, slots=True)
class ApiKey:
    key: str = field(repr=False)

    async def headers(self) -> Mapping[str, str]:
        return {"X-API-Key": self.key}

    async def renew(self) -> bool:
        return False

    def mend(self, url: str) -> str:
        return f"{url} does not take the API key"
