"""The SQL of the runbooks and of docs/operations.md, run on the schema that there is."""

import psycopg
import pytest
from sqlalchemy import Connection, text

from app.core.config import Settings
from tests.runbook_commands import OPERATIONS, RUNBOOKS, statements

# By runbook and statement; the process number is an example, and may be one of this server's.
STATEMENTS = sorted(
    {
        (path.stem, statement.replace("12345", "0"))
        for path in (*RUNBOOKS.glob("*.md"), OPERATIONS)
        for statement in statements(path.read_text())
    }
)


@pytest.mark.parametrize(
    ("runbook", "statement"), [one for one in STATEMENTS if "VACUUM" not in one[1]]
)
def test_a_statement_of_a_runbook_runs(
    connection: Connection, runbook: str, statement: str
) -> None:
    connection.execute(text(statement))


@pytest.mark.parametrize(
    ("runbook", "statement"), [one for one in STATEMENTS if "VACUUM" in one[1]]
)
def test_a_vacuum_of_a_runbook_runs(settings: Settings, runbook: str, statement: str) -> None:
    url = settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
