"""Which of Alembic's revisions this code has, without Alembic: it takes the API 0.3 s to load."""

import re
from dataclasses import dataclass
from pathlib import Path

VERSIONS = Path(__file__).parent.parent / "migrations" / "versions"

ASSIGNED = re.compile(r'^(revision|down_revision)(?:: [^=]+)? = "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Revisions:
    known: frozenset[str]
    head: str

    def fault(self, current: str | None) -> str | None:
        """Why this code can't work on a schema of that revision; None if it can.

        One that it does not know is a newer code's: a migration never breaks the code before it.
        """
        if current is None:
            return "the database has no schema yet: run `heavylift migrate`"
        if current in self.known and current != self.head:
            return f"the schema is at {current}, this needs {self.head}: run `heavylift migrate`"
        return None


def read_revisions(versions: Path = VERSIONS) -> Revisions:
    found = [dict(ASSIGNED.findall(path.read_text())) for path in versions.glob("[0-9]*.py")]
    known = frozenset(one["revision"] for one in found)
    (head,) = known - {one["down_revision"] for one in found if "down_revision" in one}
    return Revisions(known, head)
