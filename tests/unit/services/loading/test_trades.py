"""Candles made of the archive's trades: only whole ones, never wrong ones, and what was found is told."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.errors import StoreError, UnknownSymbol, Unreachable, UsageError
from candlewick.exchanges.exchange import ArchiveKind
from candlewick.market import DAY, Interval, Market, Span, parse_time
from candlewick.services.loading.rebuilt import RebuiltSeries
from candlewick.simulator.faults import Fault
from candlewick.stores.provenance import FileRecord, Verdict, file_records, rebuilt_spans
from candlewick.stores.store import ROW, VALUES, Absence, Reason, Source
from tests.unit.services.loading.tradeshop import START, SYMBOL, Tradeshop, differing

FIRST, SECOND, END = "2026-10-30", "2026-10-31", "2026-11-01"
KINDS = (ArchiveKind.TRADES, ArchiveKind.AGG_TRADES)
RANGE = Span(parse_time(FIRST), parse_time(END))


def file(kind: ArchiveKind, day: str = SECOND) -> str:
    """The path of a day's file, whatever the market."""
    return f"/data/*/daily/{kind.value}/{SYMBOL}/{SYMBOL}-{kind.value}-{day}.zip"


def no_rest(shop: Tradeshop) -> None:
    """REST refuses trades, as that of USD-M does after two days."""
    for part in ("historicalTrades", "aggTrades?"):
        shop.http.answer(part, 400, b'{"code":-4166,"msg":"Search window is restricted to recent 2 days only."}')


def record(shop: Tradeshop, day: str = SECOND, code: str = "1m") -> FileRecord:
    """The ledger's entry of a day."""
    (found,) = (one for one in file_records(shop.store, shop.series(code)) if day in one.name)
    return found


def made_by_hand(shop: Tradeshop, code: str, span: Span) -> dict[int, tuple[Any, ...]]:
    """Candles of the simulated tape in whole ticks and lots, by arithmetic of integers alone."""
    interval, candles = Interval(code), shop.exchange.candles[shop.symbol]
    price, lot = 10**candles.listing.price_decimals, 10**candles.listing.lot_decimals
    groups: dict[int, list[Any]] = {}
    for trade in candles.tape.trades(interval.floor(span.start), interval.ceil(span.end)):
        groups.setdefault(interval.floor(trade.time), []).append(trade)
    found = {}
    for time, trades in groups.items():
        if not span.start <= time < span.end:
            continue
        ticks, lots = [one.ticks for one in trades], [one.lots for one in trades]
        bought = [one for one in trades if not one.buyer_is_maker]
        found[time] = (
            ticks[0] / price, max(ticks) / price, min(ticks) / price, ticks[-1] / price, sum(lots) / lot,
            interval.close(time), sum(one.ticks * one.lots for one in trades) / (price * lot),
            sum(2 if not one.number % 4 else 1 for one in trades), sum(one.lots for one in bought) / lot,
            sum(one.ticks * one.lots for one in bought) / (price * lot),
        )  # fmt: skip
    return found


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("kind", KINDS)
def test_minutes_made_of_trades_are_the_exchanges_own(market: Market, kind: ArchiveKind) -> None:
    """Every minute with trades comes out bit for bit, no other is invented, and the store proves itself."""
    shop = Tradeshop(market=market)
    (one,) = shop.load(FIRST, END, kind=kind)
    truth = shop.truth(FIRST, END)
    assert differing(truth, shop.held()) == []
    assert (one.made, one.rows, one.doubtful, one.different) == (len(truth), len(truth), 0, 0)
    assert one.idle == one.missing == 2 * 1440 - len(truth)
    assert verify_store(shop.store, START) == []
    certificate = certify(shop.store, shop.series())
    assert {one.file for one in certificate.sources} == {name.name for name in file_records(shop.store, shop.series())}
    assert verify(Certificate.from_json(certificate.to_json()), shop.store) == []
    assert record(shop).rebuilt
    assert "rebuilt from" in record(shop).remark


def test_intervals_that_the_exchange_has_not_are_made() -> None:
    """2m, 7m and 11h, whose grids do not meet midnight, are what integers add up to; their ends come from the next day."""
    shop = Tradeshop()
    shop.load(FIRST, END, ("2m", "7m", "11h"))
    for code in ("2m", "7m", "11h"):
        assert differing(made_by_hand(shop, code, RANGE), shop.held(code)) == []
    assert verify_store(shop.store, START) == []


@pytest.mark.parametrize(("kind", "asks"), [(ArchiveKind.TRADES, True), (ArchiveKind.AGG_TRADES, False)])
@pytest.mark.parametrize(
    ("fault", "mended", "words"),
    [
        ("lost_rows", True, "ids skipped"), ("conflicting_rows", True, "in conflict"), ("empty_rows", True, "quantity"),
        ("truncated_file", True, ""), ("repeated_rows", False, "repeated"), ("unsorted_rows", False, "out of order"),
    ],
)  # fmt: skip
def test_spoiled_file_gives_no_wrong_candle(
    kind: ArchiveKind, asks: bool, fault: str, mended: bool, words: str
) -> None:
    """Whatever a file lacks or repeats, every candle stored is the exchange's; REST mends what trades lack."""
    shop = Tradeshop(Fault(kind=fault, endpoint=file(kind, FIRST), number=5))
    if not asks:
        no_rest(shop)
    (one,) = shop.load(FIRST, END, kind=kind)
    truth, held = shop.truth(FIRST, END), shop.held()
    assert [time for time in differing(truth, held) if time in held] == []
    assert (held == truth) == (asks or not mended)
    assert (one.doubtful > 0) == (mended and not asks)
    assert len(truth) - len(held) <= 15
    assert words in record(shop, FIRST).remark
    assert verify_store(shop.store, START) == []


def test_annulled_aggregates_move_nothing() -> None:
    """Aggregates made by mistake, under the number of the one before, are passed over and told."""
    shop = Tradeshop(Fault(kind="annulled_rows", endpoint=file(ArchiveKind.AGG_TRADES), number=4))
    no_rest(shop)
    shop.load(FIRST, END, kind=ArchiveKind.AGG_TRADES)
    assert differing(shop.truth(FIRST, END), shop.held()) == []
    assert "4 lines annulled" in record(shop).remark


def test_file_of_one_side_is_not_taken() -> None:
    """Where every buyer is the maker the takers' volumes cannot be told: nothing is made of it, and that is said."""
    shop = Tradeshop(Fault(kind="wrong_side", endpoint=file(ArchiveKind.TRADES)))
    (one,) = shop.load(FIRST, END)
    assert differing(shop.truth(FIRST, SECOND), shop.held()) == []
    assert record(shop).verdict is Verdict.REJECTED
    assert "one side" in record(shop).remark
    assert any("one side" in text for text in one.troubles)
    assert not one.complete


def test_file_without_checksum_is_taken_if_rest_agrees() -> None:
    """A file without a CHECKSUM is held against REST; where REST cannot be asked it is not taken."""
    fault = Fault(kind="no_checksum", endpoint=file(ArchiveKind.TRADES))
    shop, other = Tradeshop(fault), Tradeshop(fault)
    shop.load(FIRST, END)
    assert record(shop).verdict is Verdict.AGREED
    assert differing(shop.truth(FIRST, END), shop.held()) == []
    no_rest(other)
    other.load(FIRST, END)
    assert record(other).verdict is Verdict.REJECTED
    assert differing(other.truth(FIRST, SECOND), other.held()) == [max(other.truth(FIRST, SECOND))]


def test_last_candle_waits_for_the_trade_after_it() -> None:
    """Where neither REST nor a next file shows that nothing was cut off, the last candle is left out, and made later."""
    late = Fault(kind="late_file", endpoint="/data/*/trades/*", delay_s=1.5 * 86_400)
    shop = Tradeshop(late)
    no_rest(shop)
    shop.load(FIRST, "2026-11-02")
    truth = shop.truth(FIRST, "2026-11-02")
    last = max(truth)
    assert differing(truth, shop.held()) == [last]
    assert record(shop, END).missing[-1].end <= last
    later = Tradeshop(store=shop.store)
    (one,) = later.load(FIRST, "2026-11-02")
    assert one.rows == 1
    assert differing(truth, later.held()) == []


def test_second_load_does_nothing() -> None:
    """What was read is not fetched again, but where its file was replaced."""
    shop = Tradeshop()
    first = shop.load(FIRST, END, ("1m", "7m"))
    shop.http.asked.clear()
    again = shop.load(FIRST, END, ("1m", "7m"))
    assert [(one.rows, one.archive_files) for one in again] == [(0, 0)] * 2
    assert [one.certificate for one in again] == [one.certificate for one in first]
    assert not any(".zip" in url for url in shop.http.asked)
    (more,) = shop.load(FIRST, END, recheck=True)
    assert (more.archive_files, more.rows) == (2, 0)


def test_loads_in_any_order_give_the_same_store() -> None:
    """Three days at once or one by one in any order: the same candles and the same certificate."""
    days = [(FIRST, SECOND), (SECOND, END), (END, "2026-11-02")]
    whole = Tradeshop()
    whole.load(FIRST, "2026-11-02", ("1m", "11h"))
    for order in [*permutations(days)][1:5:2]:
        shop = Tradeshop()
        for start, end in order:
            shop.load(start, end, ("1m", "11h"))
        for code in ("1m", "11h"):
            assert differing(whole.held(code), shop.held(code)) == []
            assert rebuilt_spans(shop.store, shop.series(code)) == rebuilt_spans(whole.store, whole.series(code))
            assert [one.sha256 for one in certify(shop.store, shop.series(code)).blocks] == [
                one.sha256 for one in certify(whole.store, whole.series(code)).blocks
            ]


def test_held_candles_are_compared_and_kept() -> None:
    """The exchange's own candles are held against its trades: all equal; one that is not is named, and not replaced."""
    shop = Tradeshop()
    shop.load_klines(FIRST, END)
    (one,) = shop.load(FIRST, END)
    assert (one.equal, one.within, one.different, one.rows) == (len(shop.truth(FIRST, END)), 0, 0, 0)
    assert not any(record.rows for record in file_records(shop.store, shop.series()) if record.rebuilt)

    time = sorted(shop.truth(FIRST, END))[40]
    rows = shop.store.read(shop.series(), time, time + 1).copy()
    rows["volume"] += 1.0
    shop.store.write(rows)
    (one,) = shop.load(FIRST, END, recheck=True)
    assert (one.different, one.rows) == (1, 0)
    (text,) = one.differences
    assert "volume" in text
    assert f"{rows['volume'][0]!r}".removeprefix("np.float64(").removesuffix(")") in text
    assert shop.held()[time][4] == rows["volume"][0]


def test_live_candles_are_confirmed_and_not_replaced() -> None:
    """A live candle equal to its trades is settled by them; one that differs stays, and is reported."""
    shop = Tradeshop()
    number = shop.store.number(shop.series())
    truth = shop.truth(FIRST, END)
    first, second = sorted(truth)[:2]
    rows = np.zeros(2, ROW)
    for row, time in zip(rows, (first, second), strict=True):
        row["series"], row["source"], row["open_time"] = number, int(Source.LIVE), time
        for name, value in zip(VALUES, truth[time], strict=True):
            row[name] = value
    rows["trades"][1] += 1
    shop.store.write(rows)
    (one,) = shop.load(FIRST, END)
    assert (one.equal, one.different) == (1, 1)
    held = shop.store.read(shop.series(), first, second + 1)
    assert held["source"].tolist() == [int(Source.ARCHIVE), int(Source.LIVE)]
    assert held["trades"][1] == rows["trades"][1]


def test_klines_take_the_place_of_candles_made_of_trades() -> None:
    """A later load of the exchange's own candles settles all of them, and trades are a source no more."""
    shop = Tradeshop()
    shop.load(FIRST, END, kind=ArchiveKind.AGG_TRADES)
    assert rebuilt_spans(shop.store, shop.series())
    result = shop.load_klines(FIRST, END)
    assert (result.rows, result.held, result.complete) == (2880, 2880, True)
    assert rebuilt_spans(shop.store, shop.series()) == []
    assert not any(record.rows for record in file_records(shop.store, shop.series()) if record.rebuilt)
    assert verify_store(shop.store, START) == []
    assert all("klines" in one.file for one in certify(shop.store, shop.series()).sources)
    assert shop.load_klines(FIRST, END).rows == 0


def test_aggregates_never_replace_what_raw_trades_gave() -> None:
    """Raw trades replace what was made of aggregates, and not the other way round."""
    shop = Tradeshop()
    shop.load(FIRST, SECOND, kind=ArchiveKind.TRADES)
    time = max(shop.held())
    rows = shop.store.read(shop.series(), time, time + 1).copy()
    rows["quote_volume"] += 0.0001
    shop.store.write(rows)
    shop.load(FIRST, SECOND, kind=ArchiveKind.AGG_TRADES)
    assert shop.held()[time] != shop.truth(FIRST, SECOND)[time]
    shop.load(FIRST, SECOND, kind=ArchiveKind.TRADES, recheck=True)
    assert shop.held()[time] == shop.truth(FIRST, SECOND)[time]


def test_month_gives_way_to_its_days_where_it_is_not_whole() -> None:
    """A month's file that lacks a day is told from a whole one, and the files of its days are read instead."""
    name = f"/data/*/monthly/trades/{SYMBOL}/{SYMBOL}-trades-2026-09.zip"
    shop = Tradeshop(Fault(kind="short_month", endpoint=name, number=7), activity=0.02)
    (one,) = shop.load("2026-09-01", "2026-10-01")
    assert record(shop, "trades-2026-09.zip").verdict is Verdict.REJECTED
    assert one.archive_files == 30
    whole = Tradeshop(activity=0.02)
    (one,) = whole.load("2026-09-01", "2026-10-01")
    assert one.archive_files == 1
    assert one.made > 100
    assert differing(whole.held(), shop.held()) == []


def test_what_cannot_be_made_is_refused() -> None:
    """Longer intervals than a day, unknown symbols and an archive that does not answer end with a reason."""
    with pytest.raises(UsageError, match="1w are not made of trades"):
        Tradeshop().load(FIRST, END, ("1w",))
    nobody = Tradeshop()
    nobody.symbol = "NIXUSDT"
    with pytest.raises(UnknownSymbol, match="no trades of NIXUSDT"):
        nobody.load(FIRST, END)
    deaf = Tradeshop()
    deaf.http.answer("/data/", None)
    with pytest.raises(Unreachable, match="nothing was loaded"):
        deaf.load(FIRST, END)


def test_nothing_asked_for_needs_nothing() -> None:
    """An empty range needs no file."""
    shop = Tradeshop()
    one = RebuiltSeries(shop.series(), Span(DAY, DAY), ArchiveKind.TRADES, burns=False)
    assert (one.need, one.files, one.counts.made) == ([], 0, 0)


def test_candles_of_trades_end_an_absence() -> None:
    """What was called an outage because nobody had a candle, and has trades, is held now and absent no more."""
    shop = Tradeshop()
    truth = sorted(shop.truth(FIRST, END))
    store, series = shop.store, shop.series()
    store.number(series)
    span = Span(truth[5], truth[9])
    store.set_absences(series, [Absence(span, Reason.EXCHANGE_OUTAGE, '{"asked":[],"conclusion":""}')])
    shop.load(FIRST, END)
    held = [time for time in truth if span.start <= time < span.end]
    assert len(held) == 4
    left = store.absences(series)
    assert not any(one.span.start <= time < one.span.end for one in left for time in held)
    assert sum(series.interval.count(one.span) for one in left) == series.interval.count(span) - 4
    assert verify_store(store, START) == []


@pytest.mark.parametrize("stage", ["state", "states", "write"])
def test_load_that_breaks_off_is_made_good_by_the_next(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written last before a load broke off, the next one comes to the same store."""
    whole = Tradeshop()
    whole.load(FIRST, END, ("1m", "7m"))
    shop = Tradeshop()
    name = {"state": "set_state", "states": "set_states", "write": "write"}[stage]
    real, calls = getattr(shop.store, name), []

    def breaks(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise StoreError("the process ends here")
        return real(*args)

    monkeypatch.setattr(shop.store, name, breaks)
    with pytest.raises(StoreError, match="ends here"):
        shop.load(FIRST, END, ("1m", "7m"))
    monkeypatch.undo()
    shop.load(FIRST, END, ("1m", "7m"))
    for code in ("1m", "7m"):
        assert differing(whole.held(code), shop.held(code)) == []
        assert rebuilt_spans(shop.store, shop.series(code)) == rebuilt_spans(whole.store, whole.series(code))
        assert certify(shop.store, shop.series(code)).root == certify(whole.store, whole.series(code)).root
    assert verify_store(shop.store, START) == []


def test_listed_file_that_is_not_there_is_told() -> None:
    """A file that the listing shows and the archive has not leaves its day out, and both its neighbours are whole."""
    shop = Tradeshop()
    shop.http.answer(f"daily/trades/{SYMBOL}/{SYMBOL}-trades-{SECOND}.zip", 404)
    (one,) = shop.load(FIRST, "2026-11-02")
    expected = shop.truth(FIRST, SECOND) | shop.truth(END, "2026-11-02")
    assert differing(expected, shop.held()) == []
    assert any("not there" in text for text in one.troubles)
    assert not one.complete


def test_only_file_is_rejected() -> None:
    """A load of one file that cannot be taken ends with a result that says why."""
    shop = Tradeshop(Fault(kind="not_a_zip", endpoint=file(ArchiveKind.TRADES)))
    (one,) = shop.load(SECOND, END)
    assert (one.held, one.made) == (0, 0)
    assert "no zip" in one.troubles[0]
