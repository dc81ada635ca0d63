"""Which files of trades are fetched: small months whole, else days; only what is over and listed."""

import pytest

from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind, ListedFile, load
from candlewick.history.archive_plan import Step
from candlewick.history.trade_plan import DAY_BYTES, MONTH_BYTES, TradeShelf, plan_trades
from candlewick.market import DAY, Market, Span, format_time, parse_time

ARCHIVE = load("binance").venues[Market.SPOT].archive
KIND = ArchiveKind.AGG_TRADES
NOW = parse_time("2024-04-05T12:00")


def listed(file: ArchiveFile, size: int) -> dict[str, ListedFile]:
    return {file.name: ListedFile(file.name, size, NOW, "")}


def shelf(day_bytes: int, month_bytes: int, *, without: tuple[str, ...] = (), is_known: bool = True) -> TradeShelf:
    """The first three months and some days of 2024, but for the files whose names end so."""
    files: dict[str, ListedFile] = {}
    empty = TradeShelf(ARCHIVE, KIND, "BTCUSDT", {}, is_known)
    for time in range(parse_time("2024-01-01"), parse_time("2024-04-04"), DAY):
        files |= listed(empty.day(time), day_bytes)
        if time < parse_time("2024-04-01"):
            files |= listed(empty.month(time), month_bytes)
    return empty._replace(files={name: one for name, one in files.items() if not name.endswith(without)})


def planned(where: TradeShelf, *spans: tuple[str, str]) -> list[str]:
    """The dates of the files."""
    steps = plan_trades(where, [Span(parse_time(start), parse_time(end)) for start, end in spans], NOW)
    return [name_of(one) for one in steps]


def name_of(step: Step) -> str:
    assert step.file is not None
    return step.file.name.partition("BTCUSDT-aggTrades-")[2].removesuffix(".zip")


def days(start: str, count: int) -> list[str]:
    return [format_time(parse_time(start) + at * DAY)[:10] for at in range(count)]


def test_small_month_is_one_file() -> None:
    """A whole month that is small is cheaper as one file; the rest comes by days."""
    where = shelf(1 << 20, 30 << 20)
    assert planned(where, ("2024-02-01", "2024-03-03")) == ["2024-02", *days("2024-03-01", 2)]
    assert planned(where, ("2024-02-10", "2024-02-13")) == days("2024-02-10", 3)


def test_large_month_comes_by_days() -> None:
    """A month that would not fit into memory is never one file where its days are there."""
    where = shelf(40 << 20, MONTH_BYTES + 1)
    assert planned(where, ("2024-02-01", "2024-03-01")) == days("2024-02-01", 29)


def test_month_stands_in_for_days_that_are_not_there() -> None:
    """A day that the listing does not show is in the month's file, whatever its size; without that it is nowhere."""
    where = shelf(1 << 20, MONTH_BYTES + 1, without=("2024-02-11.zip",))
    assert planned(where, ("2024-02-10", "2024-02-13")) == ["2024-02"]
    neither = shelf(1 << 20, 30 << 20, without=("2024-02-11.zip", "2024-02.zip"))
    assert planned(neither, ("2024-02-10", "2024-02-13")) == ["2024-02-10", "2024-02-12"]


def test_only_days_that_are_over() -> None:
    """Today has no file; parts of days need all of the day's file."""
    where = shelf(1 << 20, 30 << 20)
    assert planned(where, ("2024-04-02T23:59", "2024-04-09")) == ["2024-04-02", "2024-04-03"]
    assert planned(where, ("2024-04-01T05:00", "2024-04-01T06:00"), ("2024-04-01T07:00", "2024-04-02T00:01")) == [
        "2024-04-01", "2024-04-02",
    ]  # fmt: skip


@pytest.mark.parametrize("is_known", [True, False])
def test_listing_that_does_not_answer(is_known: bool) -> None:
    """Without a listing every day that is over is looked for; with an empty one none."""
    where = TradeShelf(ARCHIVE, KIND, "BTCUSDT", {}, is_known)
    steps = plan_trades(where, [Span(parse_time("2024-03-31"), parse_time("2024-04-30"))], NOW)
    assert [name_of(one) for one in steps] == ([] if is_known else ["2024-03-31", *days("2024-04-01", 4)])
    assert all(one.bytes == DAY_BYTES and not one.is_listed for one in steps)
