"""Tests of the shared database see no settings of whoever runs the tests."""

from pathlib import Path

import pytest

from candlewick.config import FILE_VARIABLE, ROWS


@pytest.fixture
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment, home and working directory."""
    for name in {name for row in ROWS for name in row.names} | {FILE_VARIABLE, "XDG_DATA_HOME"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
