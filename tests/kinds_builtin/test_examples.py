"""The examples in the documentation of the built-in kinds, run on real input."""

import json
from pathlib import Path

import pytest

from app.jobs import EXAMPLE_FILE, load_kinds
from app.jobs.registry import AnyKind
from tests.kinds_builtin.conftest import FolderContext

KINDS = load_kinds()
EXAMPLES = [(kind, example) for kind in KINDS.values() for example in kind.examples]


def test_every_kind_has_one() -> None:
    assert {kind.name for kind, _ in EXAMPLES} == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=[kind.name for kind, _ in EXAMPLES])
def test_an_example_succeeds(
    kind: AnyKind, example: object, job: FolderContext, flights: Path, pictures: Path
) -> None:
    inputs = {
        "dataset": flights,
        "image": pictures / "astronaut.png",
        "text": pictures / "page.png",
    }
    file = job.give(inputs[kind.name.partition(".")[0]])
    spec = json.dumps(example).replace(EXAMPLE_FILE, str(file))
    kind(kind.spec.model_validate_json(spec), job)
    assert job.outputs
    job.assert_monotone()
