"""What the client's commands print."""

import sys

import pytest

from app.cli.terminal import print_table

ID = "01a206a0-07e1-7872-9d87-fd9762554e97"


@pytest.mark.parametrize("columns", ["80", "60"])
def test_a_narrow_terminal_folds_columns_and_leaves_ids_whole(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    row = (ID, "dataset.aggregate", "succeeded", "100%", "2026-11-23 04:18:00")
    print_table(["id", "kind", "state", "done ", "submitted"], [row])
    printed = capsys.readouterr().out
    assert ID in printed
    assert "…" not in printed
