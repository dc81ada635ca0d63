"""Loading: what comes from where, what is done about bad files, and what is recorded of it."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.errors import StoreFull, UnknownSymbol, Unreachable
from candlewick.events import CandleRevised
from candlewick.market import DAY, HOUR, Interval, Market, Series, Span, format_time, parse_time
from candlewick.services.loading.loader import LoadResult, Wanted
from candlewick.simulator.mirror import Mirror
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import FileRecord, Verdict, certificate_of, file_records, listing_of
from candlewick.stores.store import Absence, Reason, Rows, Source, WriteResult
from tests.unit.services.loading.archivist import LISTED, NOW, OUTAGES, SERIES, Archivist, StillClock, loader_of

FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_volume", "taker_buy_quote_volume",
)  # fmt: skip
BEGIN, END = "2023-01-20", "2023-05-03T12:00"


@pytest.fixture
def archivist(tmp_path: Path) -> Archivist:
    """An archive without a flaw."""
    return Archivist(tmp_path)


def record_of(store: MemoryStore, period: str) -> FileRecord:
    (record,) = [one for one in file_records(store, SERIES) if one.name.endswith(f"-1h-{period}.zip")]
    return record


def sources_in(store: MemoryStore, start: str, end: str) -> set[Source]:
    rows = store.read(SERIES, parse_time(start), parse_time(end))
    assert len(rows)
    return {Source(one) for one in np.unique(rows["source"]).tolist()}


def assert_whole(archivist: Archivist, store: MemoryStore, result: LoadResult) -> None:
    """Every candle there was is held with its values, and every outage has its reason."""
    rows = store.read(SERIES)
    for at, name in enumerate(FIELDS):
        values = [float(text.split(",")[at]) for _, text in archivist.lines]
        scale = 1000 if name.endswith("_time") else 1
        assert rows[name].tolist() == [value * scale for value in values]
    outages = [one.span for one in store.absences(SERIES) if one.reason is Reason.EXCHANGE_OUTAGE]
    assert outages == OUTAGES
    assert result.complete


def test_load_brings_everything_with_its_reasons(archivist: Archivist) -> None:
    """Months, days and REST come to every candle; the rest is an outage, or before the listing."""
    store = MemoryStore()
    result = archivist.load(store, BEGIN, END)
    assert_whole(archivist, store, result)
    assert store.absences(SERIES)[0].span == Span(parse_time(BEGIN), LISTED)
    assert store.absences(SERIES)[0].reason is Reason.NOT_LISTED
    hours = (LISTED - parse_time(BEGIN)) // HOUR
    assert result.absent == {"not_listed": hours, "exchange_outage": 5 + 6 + 1 + 41}
    assert (result.missing, result.held, result.rows) == (0, len(archivist.lines), len(archivist.lines))
    assert sources_in(store, "2023-02-07", "2023-05-03") == {Source.ARCHIVE}
    assert sources_in(store, "2023-05-03", END) == {Source.REST}


def test_outage_names_everybody_who_was_asked(archivist: Archivist) -> None:
    """The evidence has the month's file, the day's and REST, each with its answer and the files with their hash."""
    store = MemoryStore()
    archivist.load(store, BEGIN, END)
    (outage,) = [one for one in store.absences(SERIES) if one.span == OUTAGES[2]]
    asked = json.loads(outage.evidence)["asked"]
    assert [(one["who"], one["answer"]) for one in asked] == [
        ("archive daily", "no row"), ("archive monthly", "no row"), ("rest", "later candles, none of these"),
    ]  # fmt: skip
    assert asked[0]["sha256"] == record_of(store, "2023-03-15").sha256
    assert asked[1]["name"].endswith("monthly/klines/MADEUSDT/1h/MADEUSDT-1h-2023-03.zip")
    assert all(one["when"] == format_time(NOW) for one in asked)


def test_ledger_has_every_file(archivist: Archivist) -> None:
    """Size, both hashes, the rows and what it lacks are kept of each file used."""
    store = MemoryStore()
    archivist.load(store, BEGIN, END)
    record = record_of(store, "2023-03")
    assert record.size == archivist.path("2023-03").stat().st_size
    assert (record.verdict, record.sha256) == (Verdict.MATCHED, record.checksum)
    assert record.rows == len(archivist.take("2023-03"))
    assert record.missing == (Span(parse_time("2023-03-01"), OUTAGES[1].end), OUTAGES[2])


def test_second_load_asks_nobody(archivist: Archivist) -> None:
    """What is held and explained is asked for no more: not a single request but for the exchange's time."""
    store = MemoryStore()
    first = archivist.load(store, BEGIN, END)
    archivist.http.asked.clear()
    second = archivist.load(store, BEGIN, END)
    assert archivist.http.asked == []
    assert (second.rows, second.archive_files, second.complete) == (0, 0, True)
    assert second.certificate == first.certificate


def test_certificate_is_kept_and_holds(archivist: Archivist) -> None:
    """The load ends with a certificate of all that is held, which the store bears out."""
    store = MemoryStore()
    result = archivist.load(store, BEGIN, END)
    document = certificate_of(store, SERIES)
    assert document is not None
    certificate = Certificate.from_json(document)
    assert certificate.root == result.certificate
    assert certificate.complete
    assert verify(certificate, store) == []
    assert archivist.load(MemoryStore(), BEGIN, END, certify=False).certificate == ""


def test_first_candle_is_asked_for_alone(archivist: Archivist) -> None:
    """When a symbol began to trade is learnt from one candle, and not from a page of them."""
    store = MemoryStore()
    archivist.load(store, "2023-02-01", "2023-03-01")
    (asked,) = [one for one in archivist.http.asked if "/klines" in one and "startTime=1483228800000" in one]
    assert asked.endswith("limit=1")


def test_when_it_was_listed_is_kept(archivist: Archivist) -> None:
    """Only the one-minute grid is kept, so an hourly series leaves nothing."""
    store = MemoryStore()
    archivist.load(store, BEGIN, END)
    assert listing_of(store, SERIES.market, SERIES.symbol).first == 0


def test_month_that_is_not_published_comes_from_its_days(archivist: Archivist) -> None:
    """A 404 of a month costs its days, not its candles."""
    archivist.remove("2023-03")
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert sources_in(store, "2023-03-01", "2023-04-01") == {Source.ARCHIVE}
    assert record_of(store, "2023-03-31").rows == 24


def test_day_that_month_lacks_comes_from_its_file(archivist: Archivist) -> None:
    """A month without one of its days takes that day alone from its daily file."""
    archivist.put(
        "2023-03", [one for one in archivist.take("2023-03") if not format_time(one[0]).startswith("2023-03-20")]
    )
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    days = [
        one.name[-14:-4] for one in file_records(store, SERIES) if one.name.endswith(".zip") and "2023-03-" in one.name
    ]
    assert days == ["2023-03-01", "2023-03-15", "2023-03-20"]  # two of them for their outages


def test_day_that_nobody_published_comes_from_rest(archivist: Archivist) -> None:
    """What month and day lack is asked of REST, and only that."""
    archivist.put(
        "2023-03", [one for one in archivist.take("2023-03") if not format_time(one[0]).startswith("2023-03-20")]
    )
    archivist.remove("2023-03-20")
    store = MemoryStore()
    result = archivist.load(store, BEGIN, END)
    assert_whole(archivist, store, result)
    assert sources_in(store, "2023-03-20", "2023-03-21") == {Source.REST}
    assert sources_in(store, "2023-03-21", "2023-03-22") == {Source.ARCHIVE}
    assert result.rest_rows == 24 + 12


def test_truncated_month_with_right_checksum_is_completed(archivist: Archivist) -> None:
    """A checksum proves a file, not its completeness: what is good is taken, the rest comes from days."""
    archivist.put("2023-03", archivist.take("2023-03")[:500])
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    record = record_of(store, "2023-03")
    assert (record.verdict, record.rows) == (Verdict.MATCHED, 500)
    assert "missing" in record.remark


def test_bad_checksum_that_agrees_with_rest_is_taken_as_such(archivist: Archivist) -> None:
    """The file is fetched again, compared with REST row by row, and recorded as agreed and not as matched."""
    archivist.spoil_checksum("2023-03")
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    record = record_of(store, "2023-03")
    assert record.verdict is Verdict.AGREED
    assert "all 741 rows were compared with REST and agree" in record.remark
    assert record.checksum != record.sha256
    fetched = [one for one in archivist.http.asked if one.endswith("MADEUSDT-1h-2023-03.zip")]
    assert len(fetched) == 2


def test_bad_checksum_that_differs_from_rest_is_rejected(archivist: Archivist) -> None:
    """Nothing is taken from such a file: its rows come from the days."""
    time, text = archivist.take("2023-03")[100]
    wrong = [one if one[0] != time else (time, text.replace(",0", ",1", 1)) for one in archivist.take("2023-03")]
    fields = text.split(",")
    fields[8] = str(int(fields[8]) + 1)
    archivist.put("2023-03", [one if one[0] != time else (time, ",".join(fields)) for one in wrong])
    archivist.spoil_checksum("2023-03")
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    record = record_of(store, "2023-03")
    assert (record.verdict, record.rows) == (Verdict.REJECTED, 0)
    assert f"trades of {format_time(time)} differs from REST" in record.remark


def test_file_without_checksum_is_compared_with_rest(archivist: Archivist) -> None:
    """A CHECKSUM that is not there proves nothing either way: content decides."""
    archivist.http.answer("2023-03.zip.CHECKSUM", 404)
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    record = record_of(store, "2023-03")
    assert (record.verdict, record.checksum) == (Verdict.AGREED, "")
    assert "it has no CHECKSUM" in record.remark


def test_day_without_checksum_is_looked_for_though_its_month_was_listed(archivist: Archivist) -> None:
    """What a month lacks is asked of the day's own file, not only of a CHECKSUM, before it is called not published."""
    archivist.put("2023-03", [one for one in archivist.take("2023-03") if "2023-03-20" not in format_time(one[0])])
    archivist.http.answer("2023-03-20.zip.CHECKSUM", 404)
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert record_of(store, "2023-03-20").verdict is Verdict.AGREED


@pytest.mark.parametrize("day", ["rejected", "not published"])
def test_file_that_proves_nothing_is_no_outage_of_a_forgotten_symbol(tmp_path: Path, day: str) -> None:
    """Where REST knows the symbol no more and no file could be read, nobody has said that there are no candles."""
    archivist = Archivist(tmp_path, now=parse_time("2023-09-10T12:00"))
    archivist.forget(archivist.truth)
    archivist.path("2023-03").write_bytes(b"<html>not a zip</html>")
    if day == "rejected":
        archivist.path("2023-03-20").write_bytes(b"<html>not a zip</html>")
    else:
        archivist.remove("2023-03-20")
    store = MemoryStore()
    result = archivist.load(store, "2023-03-17", "2023-04-01")
    assert (result.missing, result.complete, store.absences(SERIES)) == (24, False, [])
    archivist.put("2023-03", archivist.take("2023-03"))
    assert archivist.load(store, "2023-03-17", "2023-04-01").complete


def test_checksum_that_proves_nothing_while_rest_is_away_is_not_believed(archivist: Archivist) -> None:
    """Where REST cannot be asked such a file is rejected, and the days take its place."""
    archivist.spoil_checksum("2023-03")
    archivist.http.answer("/api/v3/klines", None)
    store = MemoryStore()
    result = archivist.load(store, "2023-03-02", "2023-03-15")
    assert record_of(store, "2023-03-02").verdict is Verdict.MATCHED
    assert result.complete


def test_what_is_no_zip_is_replaced(archivist: Archivist) -> None:
    """A file that cannot be read is recorded as rejected although its checksum is right."""
    archivist.path("2023-03").write_bytes(b"<html>not a zip</html>")
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    record = record_of(store, "2023-03")
    assert record.verdict is Verdict.REJECTED
    assert record.checksum == record.sha256


def test_file_that_is_spoiled_later_stays_the_source_of_its_rows(archivist: Archivist) -> None:
    """What was taken from a file keeps its entry in the ledger, though the file cannot be read when it is asked again."""
    store = MemoryStore()
    archivist.load(store, "2023-03-01", "2023-03-20")
    before = record_of(store, "2023-03")
    assert before.verdict is Verdict.MATCHED
    archivist.path("2023-03").write_bytes(b"<html>not a zip</html>")
    result = archivist.load(store, "2023-03-20", "2023-04-01")
    assert (result.complete, result.archive_files) == (True, 13)
    assert record_of(store, "2023-03") == before
    assert verify_store(store, NOW) == []


def test_repeated_and_unordered_rows_are_put_right(archivist: Archivist) -> None:
    """Rows out of order and identical repeats cost nothing but a remark."""
    lines = archivist.take("2023-03")
    archivist.put("2023-03", [*lines[400:], *lines[:420]])
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert "20 repeated" in record_of(store, "2023-03").remark
    assert "out of order" in record_of(store, "2023-03").remark


def test_contradictory_rows_are_asked_for_elsewhere(archivist: Archivist) -> None:
    """Of two rows of one time with different values neither is believed: the day's file decides."""
    lines = archivist.take("2023-03")
    fields = lines[50][1].split(",")
    fields[8] = str(int(fields[8]) + 1)
    archivist.put("2023-03", [*lines, (lines[50][0], ",".join(fields))])
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert "different values" in record_of(store, "2023-03").remark


def test_impossible_row_goes_to_the_quarantine(archivist: Archivist) -> None:
    """A row that breaks a rule is kept aside with the rule and the file, and its candle comes from elsewhere."""
    lines = archivist.take("2023-03")
    fields = lines[50][1].split(",")
    fields[2] = "0.5"  # a high below everything
    lines[50] = lines[50][0], ",".join(fields)
    archivist.put("2023-03", lines)
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    (entry,) = store.quarantined()
    assert (entry.source, entry.series) == ("archive", str(SERIES))
    assert b"MADEUSDT-1h-2023-03.zip" in entry.raw


@pytest.mark.parametrize("shape", ["impossible", "off the grid"])
def test_candle_that_everybody_has_and_nobody_can_keep_is_no_outage(archivist: Archivist, shape: str) -> None:
    """A row that breaks a rule in every source leaves its candle missing, in this load and the next; no reason is made up."""
    odd = archivist.take("2023-03")[50][0]
    for period in ("2023-03", format_time(odd)[:10]):
        for folder in (archivist.files, archivist.truth):
            if not archivist.path(period, folder).exists():
                continue
            lines = [one for one in archivist.lines if format_time(one[0]).startswith(period)]
            at = next(at for at, one in enumerate(lines) if one[0] == odd)
            fields = lines[at][1].split(",")
            if shape == "impossible":
                fields[2] = "0.5"  # a high below everything
            else:
                fields[0] = str(int(fields[0]) + 14_789)
            lines[at] = odd, ",".join(fields)
            archivist.put(period, lines, folder=folder)
    store = MemoryStore()
    for _ in range(2):
        result = archivist.load(store, BEGIN, END)
        assert (result.missing, result.complete) == (1, False)
        assert not any(one.span.start <= odd < one.span.end for one in store.absences(SERIES))


def test_stale_listing_hides_no_file(archivist: Archivist) -> None:
    """A file that the listing does not show is looked for by its CHECKSUM before it is called absent."""
    listing = archivist.mirror.answer("/", (("prefix", "data/spot/monthly/klines/MADEUSDT/1h/"), ("delimiter", "/")))
    stale = b"".join(part for part in listing.body.split(b"<Contents>")[:1]) + b"</ListBucketResult>"
    archivist.http.answer("http://list", 200, stale)
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))


def test_listing_that_does_not_answer_costs_nothing(archivist: Archivist) -> None:
    """Without the listing every file is looked for by its name."""
    archivist.http.answer("http://list", 503)
    store = MemoryStore()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert sources_in(store, "2023-02-07", "2023-05-02") == {Source.ARCHIVE}


def test_archive_that_does_not_answer_leaves_outages_open(archivist: Archivist) -> None:
    """REST brings the candles; but an outage that the archive was not asked about has no reason yet."""
    archivist.http.answer("http://files", None)
    archivist.http.answer("http://list", None)
    store = MemoryStore()
    result = archivist.load(store, BEGIN, END)
    assert result.held == len(archivist.lines)
    assert (result.missing, result.complete) == (5 + 6 + 1 + 41, False)
    assert {one.reason for one in store.absences(SERIES)} == {Reason.NOT_LISTED}
    assert "does not answer" in result.troubles[0]
    archivist.http.rules.clear()
    assert archivist.load(store, BEGIN, END).complete
    assert [one.span for one in store.absences(SERIES)[1:]] == OUTAGES


def test_rest_that_does_not_answer_leaves_holes_open(archivist: Archivist) -> None:
    """The archive brings the candles; what it lacks has no reason while REST cannot be asked."""
    archivist.http.answer("/api/v3/klines", None)
    store = MemoryStore()
    result = archivist.load(store, BEGIN, END)
    assert sources_in(store, "2023-02-07", "2023-05-03") == {Source.ARCHIVE}
    assert not result.complete
    assert result.absent == {}
    archivist.http.rules.clear()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))


def test_nobody_who_answers_is_an_error(archivist: Archivist) -> None:
    """Where neither archive nor REST can be had, that is said, and not that candles are missing."""
    for part in ("http://files", "http://list", "http://api"):
        archivist.http.answer(part, None)
    with pytest.raises(Unreachable, match="nothing was loaded"):
        archivist.load(MemoryStore(), BEGIN, END)


def test_unknown_symbol_is_an_error(archivist: Archivist) -> None:
    """A name that neither REST nor the archive knows is refused with both their answers."""
    for folder in (archivist.files, archivist.truth):
        archivist.forget(folder)
    with pytest.raises(UnknownSymbol, match="MADEUSDT is not known"):
        archivist.load(MemoryStore(), BEGIN, END)


def test_live_rows_are_confirmed_and_revised(archivist: Archivist) -> None:
    """A live candle that the archive knows otherwise is replaced, kept as a revision, counted and told."""
    store = MemoryStore()
    archivist.load(store, "2023-03-02", "2023-03-05")
    rows = store.read(SERIES)
    live = MemoryStore()
    live.number(SERIES)
    rows["source"] = int(Source.LIVE)
    rows["trades"][7] += 1
    live.write(rows)
    result = archivist.load(live, "2023-03-02", "2023-03-05")
    assert (result.revised, result.complete) == (1, True)
    assert len(live.revisions(SERIES)) == 1
    assert set(live.read(SERIES)["source"].tolist()) == {int(Source.ARCHIVE)}
    (told,) = [one for one in archivist.events if isinstance(one, CandleRevised)]
    assert told.fields == ("trades",)


def test_rows_of_rest_are_left_alone_unless_asked(archivist: Archivist) -> None:
    """What REST has vouched for is settled; `recheck` holds it against the archive."""
    store = MemoryStore()
    archivist.load(store, "2023-03-02", "2023-03-05")
    rows = store.read(SERIES)
    rows["source"] = int(Source.REST)
    rest = MemoryStore()
    rest.number(SERIES)
    rest.write(rows)
    assert archivist.load(rest, "2023-03-02", "2023-03-05").rows == 0
    assert archivist.load(rest, "2023-03-02", "2023-03-05", recheck=True).rows == len(rows)
    assert set(rest.read(SERIES)["source"].tolist()) == {int(Source.ARCHIVE)}


class FullStore(MemoryStore):
    """A store whose disk is full at its second write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, rows: Rows) -> WriteResult:
        """See `Store.write`."""
        self.writes += 1
        if self.writes == 2:
            raise StoreFull("no space left")
        return super().write(rows)


def test_full_disk_ends_a_load_that_goes_on_later(archivist: Archivist) -> None:
    """The error is the store's own; what was written stays and is not fetched again."""
    store = FullStore()
    with pytest.raises(StoreFull, match="no space left"):
        archivist.load(store, BEGIN, END)
    held = len(store.read(SERIES))
    assert 0 < held < len(archivist.lines)
    kept = {one.name for one in file_records(store, SERIES) if len(store.read(SERIES, *one.span)) == one.rows}
    assert kept
    assert verify_store(store, NOW) == []
    archivist.http.asked.clear()
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    assert not [one for one in archivist.http.asked if one.removeprefix("http://files/") in kept]


def test_outage_that_rest_alone_has_shown_is_asked_of_the_archive(archivist: Archivist) -> None:
    """An earlier reason whose evidence never asked the archive is proved again, or found to be wrong."""
    store = MemoryStore()
    store.number(SERIES)
    wrong = Span(parse_time("2023-03-10T05:00"), parse_time("2023-03-10T09:00"))
    old = json.dumps({"asked": ["REST klines", "REST klines"], "answer": "later candles, none of these"})
    store.set_absences(SERIES, [Absence(span, Reason.EXCHANGE_OUTAGE, old) for span in (wrong, OUTAGES[2])])
    assert_whole(archivist, store, archivist.load(store, BEGIN, END))
    (outage,) = [one for one in store.absences(SERIES) if one.span == OUTAGES[2]]
    assert "archive monthly" in outage.evidence


def test_ledger_entry_that_was_lost_is_fetched_again(archivist: Archivist) -> None:
    """Rows of the archive whose file is not in the ledger are vouched for by nobody: the file is fetched again."""
    store = MemoryStore()
    archivist.load(store, BEGIN, END)
    whole = store.read(SERIES).tobytes()
    store.set_state(f"file:{SERIES}:{record_of(store, '2023-03').name}", None)
    result = archivist.load(store, BEGIN, END)
    assert result.archive_files == 1
    assert record_of(store, "2023-03").rows == len(archivist.take("2023-03"))
    assert store.read(SERIES).tobytes() == whole


def test_today_that_has_a_hole_is_pending(archivist: Archivist) -> None:
    """A hole that REST shows before the archive has its file waits for the file."""
    hole = parse_time("2023-05-03T05:00")
    lines = [one for one in archivist.lines if one[0] != hole]
    other = Archivist(archivist.files.parent / "other", lines)
    store = MemoryStore()
    result = other.load(store, "2023-04-20", END)
    assert (result.absent, result.complete) == ({"pending": 1}, False)
    assert other.load(store, "2023-04-20", END).absent == {"pending": 1}


def test_delisted_symbol_ends_with_its_reason(tmp_path: Path) -> None:
    """After the last candle of a symbol that does not trade any more there is `delisted`, however much is asked for."""
    archivist = Archivist(tmp_path, now=parse_time("2023-09-10T12:00"), lines=None)
    store = MemoryStore()
    result = archivist.load(store, "2023-04-14", "2023-09-10")
    last = archivist.lines[-1][0]
    assert result.complete
    (absence,) = store.absences(SERIES)
    assert absence.reason is Reason.DELISTED
    assert absence.span == Span(last + HOUR, parse_time("2023-09-10"))
    assert "BREAK" in absence.evidence
    assert len(archivist.http.asked) < 80


def test_last_days_of_a_delisted_symbol_are_delisted_too(tmp_path: Path) -> None:
    """What is asked for days later goes on where it was found to have ended, and does not wait for three days of its own."""
    archivist = Archivist(tmp_path, now=parse_time("2023-09-10T12:00"), lines=None)
    store = MemoryStore()
    assert archivist.load(store, "2023-04-14", "2023-09-09").complete
    assert archivist.load(store, "2023-09-09", "2023-09-10").complete
    (absence,) = store.absences(SERIES)
    assert absence.span == Span(archivist.lines[-1][0] + HOUR, parse_time("2023-09-10"))


def test_delisted_symbol_that_rest_forgot_comes_from_the_archive(tmp_path: Path) -> None:
    """The archive alone says when a forgotten symbol began and ceased to trade, and what it lacks."""
    archivist = Archivist(tmp_path, now=parse_time("2023-09-10T12:00"), lines=None)
    archivist.forget(archivist.truth)
    store = MemoryStore()
    result = archivist.load(store, BEGIN, "2023-09-10")
    reasons = [(one.span, one.reason) for one in store.absences(SERIES)]
    last = archivist.lines[-1][0]
    assert result.held == len(archivist.lines)
    assert reasons[0] == (Span(parse_time(BEGIN), LISTED), Reason.NOT_LISTED)
    assert reasons[1:-1] == [(span, Reason.EXCHANGE_OUTAGE) for span in OUTAGES]
    assert reasons[-1] == (Span(last + HOUR, parse_time("2023-09-10")), Reason.DELISTED)


@pytest.mark.parametrize("code", ["3d", "1w"])
def test_forgotten_symbol_of_long_candles_ends_with_its_reason(tmp_path: Path, code: str) -> None:
    """The grid of three days or a week fits no month: what its first and last file lack is still before and after it."""
    interval, now = Interval(code), parse_time("2023-09-10T12:00")
    series = Series(Market.SPOT, "WEEKUSDT", interval)
    first, last = interval.ceil(parse_time("2023-02-10")), interval.floor(parse_time("2023-05-16"))
    files: dict[str, list[str]] = {}
    for time in interval.grid(Span(first, last + 1)):
        text = f"{time // 1000},8,8,8,8,2,{(interval.next(time) - 1000) // 1000},16,1,1,8,0\n"
        files.setdefault(format_time(time)[:7], []).append(text)
    for month, lines in files.items():
        place = tmp_path / f"data/spot/monthly/klines/WEEKUSDT/{code}/WEEKUSDT-{code}-{month}.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(lines))
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)
    clock, store = StillClock(now), MemoryStore()
    mirror = Mirror(tmp_path, clock=clock, truth=elsewhere)

    async def work() -> LoadResult:
        loader = loader_of(mirror.http(), clock, store, Market.SPOT)
        try:
            return (await loader.run(Wanted((series,), Span(parse_time("2023-01-01"), now))))[0]
        finally:
            loader.close()

    result = asyncio.run(work())
    assert (result.missing, result.complete) == (0, True)
    assert [(one.reason, one.span.start) for one in store.absences(series)] == [
        (Reason.NOT_LISTED, interval.ceil(parse_time("2023-01-01"))), (Reason.DELISTED, interval.next(last)),
    ]  # fmt: skip


def test_weeks_are_loaded_across_months(tmp_path: Path) -> None:
    """A week is in the file of the month in which it opens; one that nobody has is an outage, asked of that month."""
    week, listed, now = Interval("1w"), parse_time("2023-01-02"), parse_time("2023-06-10T12:00")
    series = Series(Market.SPOT, "WEEKUSDT", week)
    lost = parse_time("2023-02-27")
    files: dict[str, list[str]] = {}
    for time in week.grid(Span(listed, parse_time("2023-06-05"))):
        if time != lost:
            text = f"{time // 1000},8,8,8,8,2,{(week.next(time) - 1000) // 1000},16,1,1,8,0\n"
            files.setdefault(format_time(time)[:7], []).append(text)
    for month, lines in files.items():
        place = tmp_path / f"data/spot/monthly/klines/WEEKUSDT/1w/WEEKUSDT-1w-{month}.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(lines))
    clock, store = StillClock(now), MemoryStore()
    mirror = Mirror(tmp_path, clock=clock)

    async def work() -> LoadResult:
        loader = loader_of(mirror.http(), clock, store, Market.SPOT)
        try:
            return (await loader.run(Wanted((series,), Span(parse_time("2022-12-01"), now))))[0]
        finally:
            loader.close()

    result = asyncio.run(work())
    assert (result.held, result.missing, result.complete) == (21, 0, True)
    reasons = [(one.span, one.reason) for one in store.absences(series)]
    assert reasons == [
        (Span(parse_time("2022-12-05"), listed), Reason.NOT_LISTED),
        (Span(lost, lost + 7 * DAY), Reason.EXCHANGE_OUTAGE),
    ]
    assert "WEEKUSDT-1w-2023-02.zip" in store.absences(series)[1].evidence
    assert asyncio.run(work()).rows == 0
