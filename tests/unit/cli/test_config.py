"""`candlewick config`: values, origins and masks."""

import json
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.config import ROWS


def test_config_shows_every_setting_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row is there once, with its value and where that came from; secrets are stars."""
    (tmp_path / "candlewick.toml").write_text('symbols = ["ethusdt"]\ncontrol_token = "hidden"\n', encoding="utf-8")
    monkeypatch.setenv("REQUESTS_PER_SECOND", "7.5")
    assert main(["config", "show", "--json", "--port", "1", "--store", "postgresql://u:hidden@h/d"]) == 0
    text = capsys.readouterr().out
    assert "hidden" not in text
    rows = {row["name"]: row for row in json.loads(text)}
    assert list(rows) == [row.name for row in ROWS]
    shown = {name: (rows[name]["value"], rows[name]["origin"]) for name in rows}
    assert shown["SYMBOLS"] == ("ETHUSDT", "candlewick.toml")
    assert shown["CONTROL_TOKEN"] == ("***", "candlewick.toml")
    assert shown["RATE_LIMIT_REQUESTS_PER_SEC"] == ("7.5", "environment (REQUESTS_PER_SECOND)")
    assert shown["FEEDER_PORT"] == ("1", "command line")
    assert shown["STORE"] == ("postgresql://u:***@h/d", "command line")
    assert shown["MARKET"] == ("spot", "default")
    assert main(["config", "show"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["setting", *rows]


def test_config_check_says_fine_or_what_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 when all is well, 2 with the reason when not."""
    assert main(["config", "check"]) == 0
    assert "fine" in capsys.readouterr().out
    monkeypatch.setenv("INTERVALS", "90s")
    assert main(["config", "check"]) == 2
    assert "INTERVALS" in capsys.readouterr().err
