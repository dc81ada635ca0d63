"""`candlewick certify` and `candlewick verify`: documents, lines, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from candlewick.certificates.document import Certificate
from candlewick.cli import main
from candlewick.market import MINUTE
from candlewick.stores import open_store
from candlewick.stores.memory import MemoryStore
from candlewick.stores.tables import BLOCK_KEY
from tests.unit.certificates.held import OUTAGE, REST_UNTIL, SERIES, T0, export, fill

TOOL = Path(__file__).parents[3] / "tools" / "verify_certificate.py"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store of the sample."""
    one = f"lmdb://{tmp_path / 'store'}"
    store = open_store(one, write=True)
    fill(store)
    store.close()
    return one


def certify(url: str, *options: str) -> int:
    return main(["certify", "BTC/USDT", "1m", "--store", url, *options])


def test_certificate_goes_to_stdout_and_its_summary_to_stderr(
    url: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The document alone on stdout; exit code 3, as a minute is missing and others are live."""
    assert certify(url) == 3
    out, err = capsysbinary.readouterr()
    one = Certificate.from_json(out)
    assert one.to_json() == out
    assert b"not complete, 19919 of 20000 candles, 80 absent for a reason, 1 missing, 1280 not confirmed" in err
    assert one.sha256.encode() in err


def test_range_and_output_are_taken(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A complete range to a file: exit code 0; one of both ends may be left out."""
    path = tmp_path / "one.json"
    assert certify(url, "--from", "2023-03-01T01:00", "--to", "2023-03-08", "--output", str(path)) == 0
    one = Certificate.from_json(path.read_bytes())
    assert one.range == "2023-03-01T01:00:00Z to 2023-03-08T00:00:00Z"
    assert one.absent == 80
    assert "complete, 9940 of 10020 candles" in capsys.readouterr().err
    assert certify(url, "--to", "2023-03-02", "--output", str(path)) == 0
    assert Certificate.from_json(path.read_bytes()).span.start == T0
    assert certify(url, "--from", "2023-03-14", "--output", str(path)) == 3
    assert Certificate.from_json(path.read_bytes()).unsettled == 1_280


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "2023-03-02", "--to", "2023-03-02"], "widen the range"),
        (["--from", "soon"], "--from"),
        (["--output", "/nowhere/at/all"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(
    url: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty ranges, times that are none, places that cannot be written."""
    assert certify(url, *options) in {1, 2}
    assert words in capsys.readouterr().err


def test_verify_proves_and_names(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 for a certificate that is complete and holds, 3 for one that is not complete, 1 and a line for a difference."""
    whole, all_of_it = tmp_path / "whole.json", tmp_path / "all.json"
    certify(url, "--to", "2023-03-08", "--output", str(whole))
    certify(url, "--output", str(all_of_it))
    assert main(["verify", str(whole), "--store", url]) == 0
    assert main(["verify", str(all_of_it), "--store", url]) == 3
    assert capsys.readouterr().out == ""
    store = open_store(url, write=True)
    row = store.read(SERIES, T0 + MINUTE, T0 + 2 * MINUTE)
    then = row["close"][0].item()
    row["close"] = row["low"]
    row["source"] = 3
    store.write(row)
    store.close()
    now = row["close"][0].item()
    assert main(["verify", str(whole), "--store", url]) == 1
    assert capsys.readouterr().out == (
        f"spot:BTCUSDT:1m 2023-03-01T00:01:00Z close: certified {then!r}, now {now!r}; revised since "
        "(from archive, now archive)\n"
    )
    assert main(["verify", str(whole), "--store", url, "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["series"], found["from"], found["what"], found["note"]) == (
        str(SERIES), (T0 + MINUTE) // 1000, "revised", False,
    )  # fmt: skip


def test_verify_without_file_checks_the_whole_store(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """3 where a candle is missing, 0 where none is, 1 and the block where one is damaged."""
    assert main(["verify", "--store", url]) == 3
    assert "1 candles are missing" in capsys.readouterr().err
    with lmdb.open(url.removeprefix("lmdb://"), max_dbs=16) as environment:
        blocks = environment.open_db(b"blocks", create=False)
        with environment.begin(db=blocks, write=True) as txn, txn.cursor() as cursor:
            assert cursor.first()
            key, data = cursor.item()
            txn.put(key, data[:-8])
    assert BLOCK_KEY.unpack(key)[0] == 0
    assert main(["verify", "--store", url]) == 1
    out = capsys.readouterr().out
    assert out.startswith("spot:BTCUSDT:1m 2023-03-01T00:00:00Z to 2023-03-06T00:00:00Z: ")
    assert len(out.splitlines()) == 1


def test_verify_says_what_it_cannot_read(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, and one that is no certificate."""
    assert main(["verify", str(tmp_path / "none.json"), "--store", url]) == 2
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    assert main(["verify", str(broken), "--store", url]) == 1
    assert "this is no certificate" in capsys.readouterr().err


def test_independent_verifier_runs_without_the_package(tmp_path: Path) -> None:
    """As a process in isolated mode: 0 for what was certified, 1 for one digit changed, 2 for a file that is not there."""
    store = MemoryStore()
    fill(store)
    from candlewick.certificates.issue import certify as issue  # noqa: PLC0415 - the name is taken above

    document, table = tmp_path / "one.json", tmp_path / "one.csv"
    document.write_bytes(issue(store, SERIES).to_json())
    lines = export(store)
    table.write_text("".join(lines))

    def run(*paths: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(TOOL), *map(str, paths)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert (run(document, table).returncode, run(document, table).stdout) == (0, "")
    assert run(document).returncode == 0
    fields = lines[101].split(",")
    fields[8] = str(int(fields[8]) + 1)
    table.write_text("".join([*lines[:101], ",".join(fields), *lines[102:]]))
    answer = run(document, table)
    assert answer.returncode == 1
    assert answer.stdout == (
        f"spot:BTCUSDT:1m 2023-03-01T01:40:00Z trades: certified {int(fields[8]) - 1}, now {fields[8]}\n"
    )
    assert run(document, tmp_path / "none.csv").returncode == 2
    assert run().returncode == 2
    assert OUTAGE.start < REST_UNTIL
