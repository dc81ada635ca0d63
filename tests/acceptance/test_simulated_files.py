"""`candlewick simulate --archive`, as a process."""

import json
import urllib.request
from pathlib import Path

import pytest

from candlewick.cli import main
from tests.acceptance.processes import started, wait_for

DAY = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-01"
ROW = "1677628800000,1.0,2.0,1.0,2.0,3.0,1677628859999,4.5,6,1.0,1.5,0\n"


def test_simulate_serves_a_folder_with_its_faults(tmp_path: Path) -> None:
    """One line says where it is; files, REST and the script of faults are at work there until it is told to end."""
    path = tmp_path / "archive" / f"{DAY}.csv"
    path.parent.mkdir(parents=True)
    path.write_text(ROW, encoding="ascii")
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\nkind = "no_checksum"\n', encoding="ascii")
    words = ("simulate", "--archive", str(tmp_path / "archive"), "--faults", str(script), "--port", "0", "--json")
    with started(tmp_path, *words) as process:
        url = wait_for(lambda: json.loads(process.out)["url"] if process.out.endswith("\n") else None, process)
        with urllib.request.urlopen(f"{url}/{DAY}.zip") as answer:
            assert answer.read(2) == b"PK"
        with urllib.request.urlopen(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m") as answer:
            assert json.load(answer)[0][:2] == [1677628800000, "1.0"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/{DAY}.zip.CHECKSUM")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--archive", "nowhere"), "nowhere is no mirror of the archive: it must hold a folder data/"),
        (("--archive", "nowhere", "--symbols", "BTCUSDT"), "--archive serves the symbols of its folder"),
    ],
)
def test_simulate_says_what_is_wrong_with_a_folder(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is none of the archive's is refused before anything is started."""
    assert main(["simulate", *words]) == 2
    assert complaint in capsys.readouterr().err
