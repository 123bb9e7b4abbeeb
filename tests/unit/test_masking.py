import json
from uuid import uuid4

import pytest

from app.core.config import Auth
from app.core.masking import loggable, masked
from app.core.security import ARGON2ID, sign_access_token
from app.core.tokens import ApiKey, RefreshToken


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:p%40:x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("postgresql://u@corp:p@h/d", "postgresql://u@corp:***@h/d"),
        (
            "postgresql:///d?user=u&password=p&host=/run&sslpassword=q",
            "postgresql:///d?user=u&password=***&host=/run&sslpassword=***",
        ),
        ("unix:///run/redis.sock?db=1&password=p", "unix:///run/redis.sock?db=1&password=***"),
        ("redis://:p@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("smtp://u%40h:p@h:587?starttls=off", "smtp://u%40h:***@h:587?starttls=off"),
        ("https://a.example/c?sv=1&sig=p", "https://a.example/c?sv=1&sig=***"),
        ("az://c?s%69g=p", "az://c?s%69g=***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("file:///srv/files", "file:///srv/files"),
        ('no store at "az://u:p@c"', 'no store at "az://u:***@c"'),
        ("no URL", "no URL"),
    ],
)
def test_hides_what_is_secret_in_a_url_and_only_that(url: str, shown: str) -> None:
    assert masked(url) == shown


IN_PLACE_OF_A_PASSWORD = [
    "postgresql://u:{}@h/d",
    "postgresql://u:{}@h/d?sslpassword=other",
    "redis://:{}@h:6379/0",
    "nowhere://[broken:{}@h",
]
IN_PLACE_OF_A_VALUE = [
    "postgresql://u@h:5432/d?password={}",
    "https://account.blob.core.windows.net/c?sv=1&sig={}&se=2",
    "s3://bucket?token={}",
]


@pytest.mark.parametrize(
    ("url", "mark"),
    [(url, mark) for url in IN_PLACE_OF_A_PASSWORD for mark in "/?#@:=[% \n&"]
    # Of a value, & is the end.
    + [(url, mark) for url in IN_PLACE_OF_A_VALUE for mark in "/?#@:=[% \n"],
)
def test_hides_a_secret_whatever_is_in_it(url: str, mark: str) -> None:
    for secret in (f"hunter{mark}two", f"{mark}hunter{mark}two{mark}", f"hunter{mark}x=two"):
        shown = masked(url.replace("{}", secret))
        assert "hunter" not in shown
        assert "two" not in shown


KEY = ApiKey.generate()


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (KEY.text, f"hl_{KEY.prefix}_***"),
        (RefreshToken.derive("secret", uuid4(), 1).text, "hlr_***"),
        (sign_access_token(Auth(), uuid4(), uuid4(), ttl=60), "***"),
        (ARGON2ID.hash("password"), "***"),
        ("Failing row contains (1, a (b), c).", "Failing row contains ***"),
        ("Failing row contains (1, a\nb, c).", "Failing row contains ***"),
    ],
    ids=["API key", "refresh token", "access token", "hash", "row", "row of lines"],
)
@pytest.mark.parametrize("line", ["{}", "path=/a/{} said='{}' x", "ValueError: {}\n[SQL: x]\n"])
def test_what_looks_like_a_secret_is_in_no_line(secret: str, shown: str, line: str) -> None:
    said = line.replace("{}", secret)
    assert loggable(said) == line.replace("{}", shown)
    assert json.loads(loggable(json.dumps({"a": said}))) == {"a": line.replace("{}", shown)}
    assert loggable(repr(said)) == repr(line.replace("{}", shown))


@pytest.mark.parametrize(
    "line", ["path=/api/v1/users/me", "hl_0123456789ab_", "kid=eyJ", "hlr_", "$argon2id", ""]
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert loggable(line) == line
