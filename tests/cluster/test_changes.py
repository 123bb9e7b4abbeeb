"""What changes under load: versions, nodes, servers, secrets. Nobody who uses it sees that."""

import json
import secrets
from base64 import b64decode

import httpx2
import pytest

from tests.cluster.commands import kubectl
from tests.cluster.images import NEXT
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.cluster.users import User, nothing_lost, under_load
from tests.processes import until


def revision(release: Release) -> str:
    ((found,),) = release.query("SELECT version_num FROM alembic_version")
    return found


def test_a_next_version_and_back(user: User, release: Release, table: Table) -> None:
    with table.row("helm upgrade: a migration, a changed kind") as row, under_load(user) as load:
        before = revision(release)
        release.upgrade("--set", f"image.tag={NEXT}")
        row.saw(f"schema {before} -> {revision(release)}")
        # The field that only the next version knows.
        job = user.submit("test.wait", seconds=0, loudly=True)
        user.wait(job)
    load.answers.append(accepted())
    nothing_lost(user, load, row)
    assert (before, revision(release)) == ("0005", "0006")
    assert load.failed() == []

    with table.row("helm rollback, on the next version's schema") as row:
        with under_load(user) as after:
            release.rollback()
            row.saw(f"schema {revision(release)}")
        nothing_lost(user, after, row, before=user.ended())
    assert revision(release) == "0006"
    assert after.failed() == []
    with pytest.raises(httpx2.HTTPStatusError, match="422"):
        user.submit("test.wait", seconds=0, loudly=True)


