"""From real archive files to a certificate that a stranger can check, by the commands a user types."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from tests.acceptance.processes import command, started, wait_for

TOOL = Path(__file__).parents[2] / "tools" / "verify_certificate.py"
FILES = "data/spot/daily/klines/BTCUSDT"
MARCH = ("--from", "2023-03-20", "--to", "2023-03-28")


@pytest.fixture
def archive(recordings: Path, tmp_path: Path) -> Path:
    """A copy of real files: eight days with the outage in them, of 1m and 1h."""
    folder = tmp_path / "archive"
    for interval in ("1m", "1h"):
        place = folder / FILES / interval
        place.mkdir(parents=True)
        for day in range(20, 28):
            name = f"BTCUSDT-{interval}-2023-03-{day}.zip"
            shutil.copyfile(recordings / "archive" / FILES / interval / name, place / name)
    return folder


@pytest.fixture
def own(archive: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings that lead to a server of them, and to a store."""
    with started(tmp_path, "simulate", "--archive", str(archive), "--port", "0", "--json") as child:
        said = wait_for(lambda: child.out if child.out.endswith("}\n") else None, child)
        base = next(str(one) for one in json.loads(said).values() if str(one).startswith("http"))
        yield {
            "BINANCE_API_URL": base, "BINANCE_ARCHIVE_URL": base, "BINANCE_ARCHIVE_LIST_URL": base,
            "STORE": f"lmdb://{tmp_path / 'store'}",
        }  # fmt: skip


def independent(*paths: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-I", "-S", str(TOOL), *map(str, paths)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_real_days_are_certified_and_proved_by_a_stranger(archive: Path, own: dict[str, str], tmp_path: Path) -> None:
    """Load, certify, verify, export and the independent verifier agree; one digit, and one file replaced later, are named."""
    for interval in ("1m", "1h"):
        loaded = command(tmp_path, "history", "load", "BTCUSDT", *MARCH, "--intervals", interval, **own)
        assert loaded.returncode == 0, loaded.stderr
    document, table = tmp_path / "one.json", tmp_path / "one.csv"
    issued = command(tmp_path, "certify", "BTCUSDT", "1m", "--output", str(document), **own)
    assert issued.returncode == 0, issued.stderr
    one = json.loads(document.read_bytes())
    assert (one["expected"], one["present"], one["absent"], one["complete"]) == (11_520, 11_440, 80, True)
    (absence,) = one["absences"]
    assert (absence["reason"], absence["candles"]) == ("exchange_outage", 80)
    assert {each["who"] for each in json.loads(absence["evidence"])["asked"]} >= {"archive daily", "rest"}
    hashes = {path.name: sha256(path.read_bytes()).hexdigest() for path in (archive / FILES / "1m").iterdir()}
    assert {each["file"].rpartition("/")[2]: each["sha256"] for each in one["sources"]} == hashes

    assert command(tmp_path, "verify", str(document), **own).returncode == 0
    whole = command(tmp_path, "verify", "--online", **own)
    assert (whole.returncode, whole.stdout) == (0, ""), whole.stdout
    exported = command(tmp_path, "export", "BTCUSDT", "1m", "--format", "csv", "--output", str(table), **own)
    assert exported.returncode == 0, exported.stderr
    answer = independent(document, table)
    assert (answer.returncode, answer.stdout) == (0, "")

    lines = table.read_text().splitlines(keepends=True)
    fields = lines[5_000].split(",")
    at = lines[0].split(",").index("quote_volume")
    then, fields[at] = fields[at], fields[at][:-1] + str((int(fields[at][-1]) + 1) % 10)
    table.write_text("".join([*lines[:5_000], ",".join(fields), *lines[5_001:]]))
    answer = independent(document, table)
    assert answer.returncode == 1
    assert answer.stdout.endswith(f" quote_volume: certified {then}, now {fields[at]}\n")
    assert len(answer.stdout.splitlines()) == 1

    name = "BTCUSDT-1m-2023-03-22.zip"
    path = archive / FILES / "1m" / name
    with ZipFile(path) as old:
        content = {entry: old.read(entry) for entry in old.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as new:
        for entry, data in content.items():
            new.writestr(entry, data.replace(b"1", b"2", 1))
    now = sha256(path.read_bytes()).hexdigest()
    assert command(tmp_path, "verify", **own).returncode == 0
    answer = command(tmp_path, "verify", "--online", **own)
    assert answer.returncode == 1
    assert f"file {FILES}/1m/{name} sha256: {hashes[name]} on " in answer.stdout
    assert f"now the archive states {now}" in answer.stdout
    assert len(answer.stdout.splitlines()) == 1
