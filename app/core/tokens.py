"""What is given out in full and kept as a hash: refresh tokens and API keys."""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

# So that a token found where it should not be says what it is; secret scanners look for that.
REFRESH_TOKEN = re.compile(r"hlr_([A-Za-z0-9_-]{64})")
API_KEY = re.compile(r"hl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")

# What else is signed with the same keys (access tokens) never begins like this.
DOMAIN = b"heavylift refresh token\0"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A session's token of one generation.

    Its code is derived, so that whoever has the signing key can answer a repeated
    refresh with the same successor, though only a hash of it is stored.
    """

    family: UUID
    code: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: str, family: UUID, generation: int) -> Self:
        message = DOMAIN + family.bytes + generation.to_bytes(8)
        return cls(family, hmac.digest(secret.encode(), message, "sha256"))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match = REFRESH_TOKEN.fullmatch(text)
        if match is None:
            return None
        content = base64.urlsafe_b64decode(match[1])
        return cls(UUID(bytes=content[:16]), content[16:])

    @property
    def text(self) -> str:
        return f"hlr_{base64.urlsafe_b64encode(self.family.bytes + self.code).decode()}"

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.code).digest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`prefix` finds it and may be shown; the whole has 256 random bits: SHA-256 is enough."""

    prefix: str
    text: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        prefix = secrets.token_hex(6)
        return cls(prefix, f"hl_{prefix}_{secrets.token_urlsafe(32)}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match = API_KEY.fullmatch(text)
        return None if match is None else cls(match[1], text)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()
