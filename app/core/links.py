"""Tokens of the links in mails: signed, each for one purpose; nothing of them is stored."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import jwt

from app.core.config import Auth
from app.core.errors import InvalidLink

ALGORITHM = "HS256"


def _keys(auth: Auth) -> Mapping[str, bytes]:
    """Derived, so that no link's token passes for an access token, nor the other way round."""
    return {
        kid: hmac.digest(secret.encode(), b"heavylift: links in mails", "sha256")
        for kid, secret in auth.keys.items()
    }


def sign_link(auth: Auth, purpose: str, subject: UUID, *, until: datetime | None = None) -> str:
    """Good for as long as its key is among those that verify, or until then."""
    kid, key = next(iter(_keys(auth).items()))
    claims = {"aud": purpose, "sub": str(subject)} | ({} if until is None else {"exp": until})
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})


def verify_link(auth: Auth, purpose: str, token: str) -> UUID:
    """Raises `InvalidLink`."""
    try:
        key = _keys(auth)[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(
            token, key, algorithms=[ALGORITHM], audience=purpose, options={"require": ["sub"]}
        )
        return UUID(claims["sub"])
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
        raise InvalidLink(
            "ask for a new mail, and use the link in that", field="body.token"
        ) from None
