"""The command line as a whole: exit codes, complaints, and how soon it answers."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import candlewick.cli
from candlewick.cli import COMMANDS, main
from candlewick.errors import CandlewickError, ConfigError, StoreError, UsageError
from tests.unit.cli.stores import make_store

# What a command needs only once it works; `--help` must not wait for it.
HEAVY = {"numpy", "polars", "aiohttp", "lmdb", "picows", "rich", "prometheus_client", "asyncio"}


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    """`import candlewick` loads nothing of its own accord."""
    assert {name for name in modules_after("import candlewick") if name.startswith("candlewick")} == {"candlewick"}


def test_help_loads_nothing_heavy() -> None:
    """The parser with every command is made without numpy, sockets or a store."""
    loaded = modules_after("from candlewick.cli import make_parser; make_parser()")
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_is_there_for_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` prints the usage on stdout and exits with 0."""
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: candlewick")


@pytest.mark.parametrize("words", [[], ["nothing"], ["run", "--nothing"], ["candles"], ["config", "burn"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What the parser does not know is exit code 2 with the usage on stderr."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("a setting"), 2, "candlewick: a setting\n"),
        (UsageError("a word"), 2, "candlewick: a word\n"),
        (StoreError("the disk of postgresql://u:hidden@h"), 1, "candlewick: the disk of postgresql://u:***@h\n"),
        (CandlewickError("anything"), 1, "candlewick: anything\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            ExceptionGroup("", [UsageError("one"), ExceptionGroup("", [StoreError("two")])]),
            1,
            "candlewick: one\ncandlewick: two\n",
        ),
    ],
)
def test_errors_are_told_in_a_line(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own errors are one line each on stderr, with their exit code and without a traceback or a password."""

    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("candlewick.cli.gaps.execute", fail)
    assert main(["gaps"]) == code
    assert capsys.readouterr() == ("", words)


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody raised on purpose is not dressed up as one."""

    def fail(_: argparse.Namespace) -> int:
        raise ExceptionGroup("", [UsageError("ours"), ZeroDivisionError("a defect")])

    monkeypatch.setattr("candlewick.cli.gaps.execute", fail)
    with pytest.raises(ExceptionGroup):
        main(["gaps"])


@pytest.mark.parametrize("words", [["--json", "config", "check"], ["config", "check", "--json"]])
def test_common_options_stand_before_or_after(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--json and --config may come before the command or after it."""
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("{")


def test_config_option_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--config is read wherever it stands, and a file that is not there is exit code 2."""
    (tmp_path / "other.toml").write_text("feeder_port = 7\n", encoding="utf-8")
    for words in (["--config", "other.toml", "config", "show"], ["config", "show", "--config", "other.toml"]):
        assert main(words) == 0
        assert ["FEEDER_PORT", "7", "other.toml"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["--config", "none.toml", "config", "show"]) == 2
    assert "--config names none.toml" in capsys.readouterr().err


def test_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`candlewick candles | head -1` ends quietly."""
    url = make_store(tmp_path / "store", range(3000))
    command = f"{sys.executable} -m candlewick candles BTCUSDT 1m --store {url} --format csv | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(candlewick.cli.__file__).parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("open_time,open,")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["simulate", "--speed", "0"], "--speed 0 is not possible"),
        (["simulate", "--symbols", ","], "--symbols ',' is not possible"),
        (["simulate", "--faults", "none.toml"], "none.toml cannot be read"),
        (["demo", "--speed", "-1"], "--speed -1 is not possible"),
        (["demo", "--market", "futures"], "MARKET='futures'"),
        (["run", "--symbols", ","], "SYMBOLS=','"),
        (["run", "--store", "mysql://u:hidden@h"], "STORE='mysql://u:***@h'"),
    ],
)
def test_impossible_options_are_told(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be is a line on stderr and exit code 2, before anything is started."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
