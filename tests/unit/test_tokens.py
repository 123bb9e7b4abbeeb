"""Refresh tokens and API keys, as text and as what is kept of them."""

from uuid import uuid4

import pytest

from app.core.tokens import ApiKey, RefreshToken

FAMILY = uuid4()


def test_a_refresh_token_is_derived_again_from_the_same_and_only_that() -> None:
    token = RefreshToken.derive("secret", FAMILY, 1)
    assert RefreshToken.derive("secret", FAMILY, 1) == token
    others = [
        RefreshToken.derive("secret", FAMILY, 2),
        RefreshToken.derive("other", FAMILY, 1),
        RefreshToken.derive("secret", uuid4(), 1),
    ]
    assert len({other.digest for other in (token, *others)}) == 4


def test_a_refresh_token_is_read_as_it_was_written() -> None:
    token = RefreshToken.derive("secret", FAMILY, 7)
    assert token.text.startswith("hlr_")
    assert RefreshToken.parse(token.text) == token


@pytest.mark.parametrize("text", ["", "hlr_", "hlr_" + "a" * 63, "hlr_" + "=" * 64, "x" * 68])
def test_what_is_no_refresh_token(text: str) -> None:
    assert RefreshToken.parse(text) is None


def test_an_api_key_is_read_as_it_was_written() -> None:
    key = ApiKey.generate()
    assert key.text.startswith(f"hl_{key.prefix}_")
    assert ApiKey.parse(key.text) == key
    assert ApiKey.generate().prefix != key.prefix


@pytest.mark.parametrize("text", ["", "hl_", "hl_0123456789ab_", "hlr_0123456789ab_" + "a" * 43])
def test_what_is_no_api_key(text: str) -> None:
    assert ApiKey.parse(text) is None


def test_neither_shows_itself_in_a_log() -> None:
    token, key = RefreshToken.derive("secret", FAMILY, 1), ApiKey.generate()
    assert token.text not in repr(token)
    assert repr(token.code)[2:-1] not in repr(token)
    assert key.text not in repr(key)
