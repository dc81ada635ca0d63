"""What the archive's files hold: candles and trades of the simulated market as lines of CSV (binance.md 5.4, 5.5)."""

from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from candlewick.market import Interval, Market
from candlewick.simulator.archive_traps import TIMES, Line, Style
from candlewick.simulator.bars import first_raw, last_raw
from candlewick.simulator.candles import Candles
from candlewick.simulator.filenames import FileName
from candlewick.simulator.settings import Listing
from candlewick.simulator.trades import raw_trades

MICROSECONDS_SINCE = 1_735_689_600_000_000  # spot files of data from 2025 on are in microseconds
_MICRO = 10**14  # a time above this many is in microseconds
_LARGEST = 700_000  # rows of a file of trades; the months of busy symbols are not there
_HOURS = {False: 24, True: 24 * 31}
HEADERS = {
    "klines": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
}


def expected_rows(name: FileName, listing: Listing, activity: float) -> int:
    """About how many rows a file has; 0 where it would be too large to be made."""
    if name.kind == "klines":
        return (name.span.end - name.span.start) // Interval(name.interval).nominal + 1
    rows = round(listing.hourly * activity * _HOURS[name.is_monthly])
    return rows if rows <= _LARGEST else 0


def make_lines(name: FileName, candles: Candles) -> list[Line]:
    """The rows of a file, times in microseconds."""
    if name.kind == "klines":
        return [
            [str(int(row[0]) * 1000), *map(str, row[1:6]), str(int(row[6]) * 1000 + 999), *map(str, row[7:])]
            for row in candles.rows(Interval(name.interval), *name.span)
        ]
    spot, printer, raw = name.market is Market.SPOT, candles.printer, name.kind == "trades"
    words = ("False", "True") if spot else ("false", "true")
    last = ["True"] if spot else []
    lines: list[Line] = []
    for trade in candles.tape.trades(*name.span):
        price, time, side = printer.price(trade.ticks), str(trade.time), words[trade.buyer_is_maker]
        if raw:
            for number, lots in raw_trades(trade):
                amount = printer.amount(trade.ticks * lots)
                lines.append([str(number), price, printer.quantity(lots), amount, time, side, *last])
        else:
            numbers = [str(first_raw(trade.number)), str(last_raw(trade.number))]
            lines.append([str(trade.number), price, printer.quantity(trade.lots), *numbers, time, side, *last])
    return lines


def pack(lines: list[Line], style: Style, key: str, kind: str) -> bytes:
    """The zip of a file with these rows, the same whenever it is made."""
    if not style.is_micro:
        places = TIMES[kind]
        lines = [
            [str(int(field) // 1000) if place in places else field for place, field in enumerate(line)]
            for line in lines
        ]
    text = f"{HEADERS[kind]}\n" if style.has_header else ""
    text += "".join([",".join(line) + "\n" for line in lines])
    return zipped(key.rpartition("/")[2].replace(".zip", ".csv"), text.encode())


def unpack(content: bytes, kind: str) -> tuple[list[Line], Style]:
    """The rows of a file, times in microseconds, and how it is written.

    Raises:
        BadZipFile: it is none.
    """
    with ZipFile(BytesIO(content)) as packed:
        lines = [line.split(",") for line in packed.read(packed.namelist()[0]).decode().splitlines() if line]
    has_header = bool(lines) and not lines[0][0].isdigit()
    lines = lines[has_header:]
    places = TIMES[kind]
    is_micro = bool(lines) and int(lines[0][places[0]]) >= _MICRO
    if not is_micro:
        # A close time is the last millisecond of its candle, and the last microsecond of that.
        last = places[-1] if kind == "klines" else None
        lines = [
            [
                f"{field}{'999' if place == last else '000'}" if place in places else field
                for place, field in enumerate(line)
            ]
            for line in lines
        ]
    return lines, Style(has_header, is_micro)


def zipped(name: str, content: bytes) -> bytes:
    """A zip of one file that is the same whenever it is made."""
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)
    return packed.getvalue()
