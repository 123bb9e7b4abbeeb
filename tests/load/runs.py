"""`python -m loadtests` as its users run it, on little load."""

import re
import subprocess
import sys
from pathlib import Path

from app.core.config import Settings
from tests.processes import HEAVYLIFT, environment

ADMIN, PASSWORD = "admin@example.com", "an admin's password"

# Little, so that what else is at work on two cores does not count; each journey at least once.
USERS, SECONDS = 10, 20


def make_admin(settings: Settings) -> None:
    """The one that reads the lists."""
    subprocess.run(
        [*HEAVYLIFT, "user", "create", ADMIN, "--admin"],
        env=environment(settings),
        input=f"{PASSWORD}\n",
        text=True,
        check=True,
    )


def load(
    settings: Settings,
    host: str,
    report: Path | str,
    *arguments: str,
    seconds: int = SECONDS,
    **variables: str,
) -> tuple[int, str]:
    """Exit code and all that was said."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests", "--host", host, "--users", str(USERS)),
            *("--spawn-rate", "2", "--run-time", f"{seconds}s", "--report", str(report)),
            *arguments,
        ],
        env=environment(
            settings,
            **{
                "LOADTEST_ADMIN_EMAIL": ADMIN,
                "LOADTEST_ADMIN_PASSWORD": PASSWORD,
                "LOADTEST_ACCOUNTS": "2",
                "LOADTEST_ITEMS": "30",
                "LOADTEST_RATE": "0.4",
                **variables,
            },
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ran.returncode, ran.stdout


def verdict(said: str) -> dict[str, bool]:
    """Of each objective in the table: whether it was met."""
    rows = re.findall(r"^(\S.*?)  +\S.*?  (ok|MISSED)$", said, re.MULTILINE)
    return {what: word == "ok" for what, word in rows}
