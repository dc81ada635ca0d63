"""The page on Python: its examples run, and it names what there is."""

import inspect
import re
from pathlib import Path

import pytest

import candlewick
from candlewick.config import FILE_VARIABLE, ROWS
from candlewick.market import HOUR, MINUTE, Span, parse_time
from candlewick.reading.database import Database
from candlewick.reading.styles import STYLES
from candlewick.stores import open_store
from candlewick.stores.lmdb import LmdbStore
from tests.unit.reading.samples import MINUTE_SERIES, outage, series, write

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
JANUARY = Span(parse_time("2024-01-01"), parse_time("2024-02-01"))
OUTAGE = Span(parse_time("2024-01-10T12:40"), parse_time("2024-01-10T14:00"))

EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def january(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month of minutes with an outage, and some hours, in the store of the settings."""
    for name in {name for row in ROWS for name in row.names} | {FILE_VARIABLE}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE", f"lmdb://{tmp_path / 'store'}")
    store = LmdbStore.open(tmp_path / "store", write=True)
    minutes = range(JANUARY.start, JANUARY.end, MINUTE)
    write(store, MINUTE_SERIES, [time for time in minutes if not OUTAGE.start <= time < OUTAGE.end])
    store.set_absences(MINUTE_SERIES, [outage(OUTAGE)])
    write(store, series("spot:BTCUSDT:1h"), range(JANUARY.start, JANUARY.start + 5 * HOUR, HOUR))
    store.close()


@pytest.mark.usefixtures("january")
def test_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    """All examples, in order, as one program; that of the shared database, which is elsewhere, apart."""
    examples = [one for one in EXAMPLES if "postgresql://" not in one]
    known: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), known)
    printed = capsys.readouterr().out
    assert "2024-01-31 23:59:00 UTC" in printed
    assert "has no series spot:DOGEUSDT:1m; it has spot:BTCUSDT:1m" in printed
    assert len(examples) >= 7
    assert known["daily"].height == 17
    assert Path("january.json").stat().st_size > 100


def test_example_of_the_shared_database_runs(schema_url: str) -> None:
    """It reads what the database has, with the address of one that is there."""
    (example,) = (one for one in EXAMPLES if "postgresql://" in one)
    store = open_store(schema_url, write=True)
    write(store, MINUTE_SERIES, range(JANUARY.start, JANUARY.start + HOUR, MINUTE))
    store.close()
    known: dict[str, object] = {"candlewick": candlewick}
    exec(compile(re.sub(r"postgresql://[^\"]+", schema_url, example), "docs/python.md", "exec"), known)
    assert len(known["df"]) == 12
    assert known["proof"].present == 60


def test_page_names_every_call_argument_and_style() -> None:
    """Public methods, the arguments of `candles`, and the styles."""
    methods = [name for name in vars(Database) if not name.startswith("_") and name not in {"open", "location"}]
    arguments = [name for name in inspect.signature(Database.candles).parameters if name != "self"]
    missing = [
        name for name in [*methods, *arguments, *STYLES] if f"`{name}`" not in PAGE and f"db.{name}(" not in PAGE
    ]
    assert missing == []
