import json
import re
from pathlib import Path

import pytest

from app.core.config import SAMPLE_SIGNING_KEY
from tests.integration.cli.conftest import Run, is_one_line

KEYS = "k1:" + "s" * 40
PRODUCTION = {
    "HEAVYLIFT_ENVIRONMENT": "production",
    "HEAVYLIFT_AUTH_SIGNING_KEYS": KEYS,
    "HEAVYLIFT_DATABASE_URL": "postgresql://app:hunter2@db:5432/heavylift",
    "HEAVYLIFT_REDIS_URL": "redis://:hunter3@redis:6379/0",
    "HEAVYLIFT_STORAGE_URL": "s3://bucket/prefix",
}


def test_prints_every_setting_with_its_source_and_no_secret(run: Run) -> None:
    outcome = run("config", **PRODUCTION)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines == sorted(lines)
    printed = dict(line.split("=", 1) for line in lines)
    assert re.fullmatch(
        r"postgresql://app:\*\*\*@db:5432/heavylift +# environment\. PostgreSQL.*",
        printed["HEAVYLIFT_DATABASE_URL"],
    )
    assert printed["HEAVYLIFT_REDIS_URL"].startswith("redis://:***@redis:6379/0 ")
    assert printed["HEAVYLIFT_AUTH_SIGNING_KEYS"].startswith("*** ")
    assert "# default. Seconds." in printed["HEAVYLIFT_AUTH_ACCESS_TOKEN_TTL"]
    for secret in ("hunter2", "hunter3", "s" * 40):
        assert secret not in outcome.out


def test_prints_json(run: Run) -> None:
    outcome = run("config", "--json", HEAVYLIFT_JOBS_POOLS="cpu,gpu")
    settings = {setting["variable"]: setting for setting in json.loads(outcome.out)}
    assert settings["HEAVYLIFT_JOBS_POOLS"] == {
        "variable": "HEAVYLIFT_JOBS_POOLS",
        "value": "cpu,gpu",
        "source": "environment",
        "description": "The worker pools there are, comma-separated.",
    }
    assert settings["HEAVYLIFT_DATABASE_DIRECT_URL"]["value"] is None


def test_a_secret_that_looks_like_a_url_is_one_all_the_same(run: Run) -> None:
    keys = "k1://" + "s" * 40
    outcome = run("config", HEAVYLIFT_AUTH_SIGNING_KEYS=keys)
    assert outcome.code == 0
    assert "s" * 40 not in outcome.out


@pytest.mark.parametrize("mark", "/?#")
def test_a_password_shows_no_part_whatever_is_in_it(run: Run, mark: str) -> None:
    url = f"postgresql://app:hunter{mark}two@db/heavylift"
    outcome = run("config", HEAVYLIFT_DATABASE_URL=url)
    assert "HEAVYLIFT_DATABASE_URL=postgresql://app:***@db/heavylift " in outcome.out
    assert "hunter" not in outcome.out
    assert "two@" not in outcome.out


def test_production_starts_with_everything_set(run: Run) -> None:
    assert run("config", **PRODUCTION).code == 0


DATABASE = {"HEAVYLIFT_DATABASE_URL"}
WORK = DATABASE | {"HEAVYLIFT_REDIS_URL", "HEAVYLIFT_STORAGE_URL"}
NEEDS = {
    "api": WORK | {"HEAVYLIFT_AUTH_SIGNING_KEYS"},
    "worker": WORK,
    "controller": WORK,
    "migrate": DATABASE,
}


@pytest.mark.parametrize(
    ("subcommand", "missing"),
    [(subcommand, missing) for subcommand in NEEDS for missing in sorted(NEEDS[subcommand])],
)
def test_production_refuses_to_start_without_what_it_uses(
    run: Run, missing: str, subcommand: str
) -> None:
    rest = {name: value for name, value in PRODUCTION.items() if name != missing}
    outcome = run(subcommand, **rest)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert missing in outcome.err


class Started(Exception):
    """By a process that has its settings."""


@pytest.mark.parametrize("subcommand", NEEDS)
def test_production_starts_without_what_it_does_not_use(
    run: Run, monkeypatch: pytest.MonkeyPatch, subcommand: str
) -> None:
    def start(*_: object, **__: object) -> None:
        raise Started

    # The first that each does with them; logs would go on to a stream that is this test's only.
    for target in ("app.server.serve", "app.cli.migrate.current", "worker.cli.configure_logging"):
        monkeypatch.setattr(target, start)
    needed = {name: PRODUCTION[name] for name in NEEDS[subcommand]}
    with pytest.raises(Started):
        run(subcommand, HEAVYLIFT_ENVIRONMENT="production", **needed)


def test_what_production_lacks_can_be_looked_up(run: Run) -> None:
    outcome = run("config", HEAVYLIFT_ENVIRONMENT="production")
    assert outcome.code == 0
    assert "HEAVYLIFT_AUTH_SIGNING_KEYS=*** " in outcome.out


def test_production_refuses_the_sample_key_anywhere_among_the_keys(run: Run) -> None:
    keys = f"{KEYS},{SAMPLE_SIGNING_KEY}"
    outcome = run("api", **{**PRODUCTION, "HEAVYLIFT_AUTH_SIGNING_KEYS": keys})
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert "HEAVYLIFT_AUTH_SIGNING_KEYS is the public sample" in outcome.err


def test_mails_that_lead_nowhere_are_refused_by_who_sends_them(run: Run) -> None:
    outcome = run("api", **PRODUCTION, HEAVYLIFT_MAIL_URL="smtp://h")
    assert outcome.code == 2
    assert "HEAVYLIFT_NEWSLETTER_PAGE_URL is not set" in outcome.err


def test_mails_from_nowhere_are_refused_too(run: Run) -> None:
    page = {"HEAVYLIFT_NEWSLETTER_PAGE_URL": "https://example.com/newsletter"}
    outcome = run("api", **PRODUCTION, HEAVYLIFT_MAIL_URL="smtp://h", **page)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert "HEAVYLIFT_MAIL_SENDER is not set" in outcome.err


def test_every_secret_may_come_from_a_file(run: Run, tmp_path: Path) -> None:
    variables = {}
    for name, value in PRODUCTION.items():
        (tmp_path / name).write_text(value + "\n")
        variables[f"{name}_FILE"] = str(tmp_path / name)
    outcome = run("config", "--json", **variables)
    assert outcome.code == 0, outcome.err
    settings = {setting["variable"]: setting for setting in json.loads(outcome.out)}
    assert settings["HEAVYLIFT_ENVIRONMENT"]["value"] == "production"
    assert settings["HEAVYLIFT_DATABASE_URL"]["value"] == "postgresql://app:***@db:5432/heavylift"
    assert {settings[name]["source"] for name in PRODUCTION} == {"file"}


def test_a_secret_file_with_the_sample_key_is_refused_too(run: Run, tmp_path: Path) -> None:
    rest = {**PRODUCTION}
    del rest["HEAVYLIFT_AUTH_SIGNING_KEYS"]
    path = tmp_path / "keys"
    path.write_text(SAMPLE_SIGNING_KEY)
    outcome = run("api", **rest, HEAVYLIFT_AUTH_SIGNING_KEYS_FILE=str(path))
    assert outcome.code == 2
    assert "HEAVYLIFT_AUTH_SIGNING_KEYS is the public sample" in outcome.err


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HEAVYLIFT_API_PORTT": "1"}, "HEAVYLIFT_API_PORTT is no setting"),
        ({"HEAVYLIFT_API_PORT": "many"}, "HEAVYLIFT_API_PORT: "),
        ({"HEAVYLIFT_DATABASE_URL": "mysql://h/d"}, "HEAVYLIFT_DATABASE_URL: write it as"),
        ({"HEAVYLIFT_DATABASE_URL": "postgresql://h:x/d"}, "HEAVYLIFT_DATABASE_URL: write it as"),
        ({"HEAVYLIFT_REDIS_URL": "redis://:hunter/2@h"}, "HEAVYLIFT_REDIS_URL: write it as"),
        ({"HEAVYLIFT_REDIS_URL": "redis://h?dbb=3"}, "HEAVYLIFT_REDIS_URL: unknown option 'dbb'"),
        ({"HEAVYLIFT_STORAGE_URL": "file://files"}, "HEAVYLIFT_STORAGE_URL: write it as"),
        ({"HEAVYLIFT_AUTH_LOGINS_PER_ACCOUNT": "often"}, "PER_ACCOUNT: write it as 10/minute"),
        ({"HEAVYLIFT_API_FORWARDED_ALLOW_IPS": "10.0.0.0/33"}, "ALLOW_IPS: write it as 10.0.0.7"),
        ({"HEAVYLIFT_API_FORWARDED_ALLOW_IPS": "*,10.0.0.7"}, "ALLOW_IPS: write it as 10.0.0.7"),
        ({"HEAVYLIFT_API_CORS_ORIGINS": "app.example.com"}, "ORIGINS: write it as https://app"),
        ({"HEAVYLIFT_API_CORS_ORIGINS": "https://a.org/"}, "ORIGINS: write it as https://app"),
        ({"HEAVYLIFT_API_CORS_ORIGINS": "https://a.org,*"}, "ORIGINS: write it as https://app"),
        ({"HEAVYLIFT_API_CORS_ORIGINS": "null"}, "ORIGINS: write it as https://app"),
        ({"HEAVYLIFT_MAIL_URL": "smtp://h?starttls=maybe"}, "HEAVYLIFT_MAIL_URL: write it as"),
        ({"HEAVYLIFT_MAIL_URL": "http://h"}, "HEAVYLIFT_MAIL_URL: write it as"),
        ({"HEAVYLIFT_MAIL_SENDER": "a@h, b@h"}, "HEAVYLIFT_MAIL_SENDER: write it as"),
        ({"HEAVYLIFT_NEWSLETTER_PAGE_URL": "news"}, "HEAVYLIFT_NEWSLETTER_PAGE_URL: write it"),
        ({"HEAVYLIFT_API_HOST": "é" * 80}, "HEAVYLIFT_API_HOST: write it as a host name"),
        ({"HEAVYLIFT_API_HOST": "a b"}, "HEAVYLIFT_API_HOST: write it as a host name"),
        ({"HEAVYLIFT_SIGNALS_HOST": "a..b"}, "HEAVYLIFT_SIGNALS_HOST: write it as a host name"),
        ({"HEAVYLIFT_REDIS_URL_FILE": "/no/file"}, "HEAVYLIFT_REDIS_URL_FILE: can't read /no/file"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    run: Run, variables: dict[str, str], said: str
) -> None:
    outcome = run("config", **variables)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert outcome.out == ""
