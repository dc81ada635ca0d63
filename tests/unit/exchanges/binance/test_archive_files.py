"""CSVs of the archive as columns: the real ones, every trap in them, and damaged ones."""

import csv
import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest

from candlewick.errors import DecodeError
from candlewick.exchanges.binance import EXCHANGE, archive_files
from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind, Columns, Venue
from candlewick.market import Candle, Interval, Market, parse_time

KLINES, TRADES, AGG_TRADES = ArchiveKind.KLINES, ArchiveKind.TRADES, ArchiveKind.AGG_TRADES
M1 = Interval("1m")
SPOT, USDM = EXCHANGE.venues[Market.SPOT].archive, EXCHANGE.venues[Market.USDM].archive
DAY = SPOT.day(KLINES, "BTCUSDT", M1, parse_time("2023-03-24"))
assert DAY is not None

ROW = (
    "1679616000000,28295.42000000,28305.41000000,28292.24000000,28302.33000000,90.28077000,1679616059999,"
    "2554807.39801410,1040,55.72565000,1576802.32380560,0"
)
NEXT = ROW.replace("1679616000000", "1679616060000").replace("1679616059999", "1679616119999")
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
TRADES_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker"
AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
CANDLE = Candle(
    1679616000000000, 28295.42, 28305.41, 28292.24, 28302.33, 90.28077, 1679616059999000, 2554807.3980141, 1040,
    55.72565, 1576802.3238056,
)  # fmt: skip


def zipped(text: str | bytes, name: str = "BTCUSDT-1m-2023-03-24.csv", method: int = ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with ZipFile(packed, "w", method) as file:
        file.writestr(name, text)
    return packed.getvalue()


def read(text: str | bytes) -> Columns:
    assert DAY is not None
    return SPOT.read_candles(zipped(text), DAY)


def candles(columns: Columns) -> list[Candle]:
    return [
        Candle(*values) for values in zip(*(columns[name].tolist() for name in Candle.__struct_fields__), strict=True)
    ]


def recorded(folder: Path, part: str = "") -> Iterator[tuple[ArchiveFile, bytes, bytes]]:
    """Every recorded file, or those below `part`: what its name stands for, its zip, its CSV."""
    for path in sorted((folder / "archive").rglob("*")):
        if path.suffix not in {".zip", ".csv"} or part not in path.as_posix():
            continue
        name = path.relative_to(folder / "archive").with_suffix(".zip").as_posix()
        file = SPOT.parse_name(name) or USDM.parse_name(name)
        assert file is not None, name
        body = path.read_bytes()
        if path.suffix == ".csv":
            yield file, zipped(body, path.name), body
        else:
            with ZipFile(path) as packed:
                yield file, body, packed.read(f"{path.stem}.csv")


def in_microseconds(text: str) -> int:
    return int(text) * 1000 if int(text) < 10**14 else int(text)


@pytest.mark.data
def test_archive_reads_every_recorded_file_like_the_csv_module(recordings: Path) -> None:
    """Each row of each real file is the row that Python's csv and float make of it, bit by bit."""
    rows = 0
    for file, body, text in recorded(recordings):
        columns = SPOT.read_candles(body, file)
        expected = [line for line in csv.reader(io.StringIO(text.decode())) if line[0] != "open_time"]
        rows += len(expected)
        for place, name in enumerate(Candle.__struct_fields__):
            if name in {"open_time", "close_time"}:
                values = [in_microseconds(line[place]) for line in expected]
                wanted = [time - time % 1000 for time in values] if name == "close_time" else values
                assert columns[name].dtype == np.int64
                assert columns[name].tolist() == wanted, (file.name, name)
            elif name == "trades":
                assert columns[name].tolist() == [int(line[place]) for line in expected], file.name
            else:
                floats = np.array([float(line[place]) for line in expected])
                assert columns[name].dtype == np.float64
                assert columns[name].tobytes() == floats.tobytes(), (file.name, name)
    assert rows > 180_000


@pytest.mark.data
def test_archive_holds_march_2023_with_its_outage(recordings: Path) -> None:
    """The month has 44,560 rows, and the last minute before the outage closes early."""
    times, closes = [], []
    for file, body, _ in recorded(recordings):
        if file.symbol == "BTCUSDT" and file.interval == M1:
            columns = SPOT.read_candles(body, file)
            times += columns["open_time"].tolist()
            closes += columns["close_time"].tolist()
    assert len(times) == 44_560
    last = times.index(parse_time("2023-03-24T12:39"))
    assert closes[last] == parse_time("2023-03-24T12:39:41.646")
    assert times[last + 1] == parse_time("2023-03-24T14:00")


@pytest.mark.data
def test_archive_reads_milliseconds_and_microseconds_alike(recordings: Path) -> None:
    """The last file in milliseconds and the first in microseconds meet without a step, close times to the millisecond."""
    found = {file.name[-11:-4]: SPOT.read_candles(body, file)
             for file, body, _ in recorded(recordings) if "BTCUSDT/5m" in file.name and "spot" in file.name}  # fmt: skip
    old, new = found["2024-12"], found["2025-01"]
    assert new["open_time"][0] - old["open_time"][-1] == 300_000_000
    assert new["open_time"][0] == parse_time("2025-01-01")
    assert new["close_time"][0] == parse_time("2025-01-01T00:04:59.999")
    assert not (new["close_time"] % 1000).any()
    assert not (new["open_time"] % 300_000_000).any()


@pytest.mark.data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_archive_agrees_with_rest(symbol: str, recordings: Path) -> None:
    """Every candle that REST gave for March 2023 is the archive's, in all eleven fields, the outage's early close too."""
    for code, least in (("15m", 1000), ("1h", 700)):
        held = {
            one.open_time: one
            for file, body, _ in recorded(recordings, f"daily/klines/{symbol}/{code}")
            for one in candles(SPOT.read_candles(body, file))
        }
        compared = 0
        for path in sorted((recordings / "rest/klines").glob(f"{symbol}-{code}-*.json")):
            for candle in EXCHANGE.venues[Market.SPOT].read_klines(path.read_bytes()):
                if candle.open_time in held:
                    assert candle == held[candle.open_time]
                    compared += 1
        assert compared >= least


@pytest.mark.parametrize(
    "text",
    [
        f"{ROW}\n{NEXT}\n",
        f"{ROW}\n{NEXT}",
        f"{ROW}\r\n{NEXT}\r\n",
        f"{ROW}\r\n{NEXT}",
        f"\ufeff{ROW}\n{NEXT}\n",
        f"{HEADER}\n{ROW}\n{NEXT}\n",
        f"{HEADER}\r\n{ROW}\r\n{NEXT}\r\n",
        f"\ufeff{HEADER.upper()}\n{ROW}\n{NEXT}\n",
        f"{HEADER},more,and more\n{ROW},1,x\n{NEXT},2,y\n",
        f"{ROW}\n{NEXT}\n".replace("0000000,", "0000000000,").replace("9999,", "9999999,"),
        f"{ROW[:-1]}7887.56\n{NEXT}\n",
    ],
)
def test_archive_reads_every_dialect(text: str) -> None:
    """Line ends, a byte order mark, a header or none, later columns, and microseconds make no difference."""
    first, second = candles(read(text))
    assert first == CANDLE
    assert second.open_time == CANDLE.open_time + 60_000_000
    assert second.close_time == CANDLE.close_time + 60_000_000


def test_archive_reads_a_stored_zip() -> None:
    """A zip that is not packed is read as well."""
    assert DAY is not None
    assert candles(SPOT.read_candles(zipped(ROW, method=ZIP_STORED), DAY)) == [CANDLE]


def test_archive_keeps_impossible_rows_as_they_stand() -> None:
    """Repeats, wrong order, zeros and what is no finite number are for others to judge."""
    odd = ROW.replace("90.28077000", "nan").replace("1040", "-3").replace("28295.42000000", "0")
    columns = read(f"{NEXT}\n{odd}\n{odd}\n")
    assert columns["open_time"].tolist() == [1679616060000000, 1679616000000000, 1679616000000000]
    assert np.isnan(columns["volume"][1:]).all()
    assert columns["trades"].tolist() == [1040, -3, -3]
    assert columns["open"].tolist() == [28295.42, 0.0, 0.0]


def test_archive_tells_the_unit_of_each_time_by_its_size_alone() -> None:
    """Both units may stand in one file; a time that is neither is not bent into the file's day."""
    texts = [
        "1679616000000",
        "1679616060000000",
        "1679616000",
        "1679616000000000000",
        "-1",
        str(-(2**63)),
        "99999999999999",
    ]
    lines = [ROW.replace("1679616000000", text).replace("1679616059999", text) for text in texts]
    times = [1679616000000000, 1679616060000000, 1679616000000, 1679616000000000000, -1000, -(2**63), 99999999999999000]
    columns = read("\n".join(lines))
    assert columns["open_time"].tolist() == times
    assert columns["close_time"].tolist()[:4] == times[:4]


def test_archive_numbers_are_the_nearest_doubles() -> None:
    """A hundred thousand decimals of up to twenty digits, many halfway between doubles, are read like Python's float."""
    rng = random.Random(20230324)
    texts = []
    for _ in range(12_500):
        digits = "".join(rng.choices("0123456789", k=rng.randint(1, 20)))
        point = rng.randint(0, len(digits))
        texts.append((digits[:point] or "0") + "." + (digits[point:] or "0"))
        texts.append(f"{rng.uniform(0, 10.0 ** rng.randint(-8, 12)):.8f}")
        texts.append(repr(rng.uniform(0, 1)))
        half = rng.randint(2**52, 2**53 - 1) * 2 + 1
        texts.append(f"{half * 2 ** rng.randint(0, 10)}.{'0' * rng.randint(1, 8)}{rng.choice('01')}")
    values = iter([*texts, *texts])
    lines = [",".join(["1679616000000", *(next(values) for _ in range(5)), "1", "1.0", "1", "1", "1", "0"])
             for _ in range(len(texts) * 2 // 5)]  # fmt: skip
    columns = read("\n".join(lines))
    got = np.column_stack([columns[name] for name in ("open", "high", "low", "close", "volume")]).ravel()
    assert got.tobytes() == np.array([float(text) for text in [*texts, *texts]]).tobytes()


def cell(place: int, text: str) -> str:
    return ",".join(text if number == place else value for number, value in enumerate(NEXT.split(",")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "line 2 .* is empty"),
        ("\r", "line 2 .* is empty"),
        (NEXT.rpartition(",")[0], "line 2 .* has 11 columns instead of 12"),
        (NEXT.rpartition(",")[0] + ",", "line 2 .* text"),
        (NEXT + ",1", "line 2 .* has 13 columns instead of 12"),
        (NEXT[:40], "line 2 .* has 3 columns instead of 12"),
        (cell(0, ""), "line 2 .* as open_time, which is no whole number"),
        (cell(0, "1679616060000.5"), "line 2 .* as open_time"),
        (cell(0, "9223372036854775808"), "line 2 .* as open_time"),
        (cell(1, ""), "line 2 .* as open, which is no number"),
        (cell(1, "28 295"), "line 2 .* as open"),
        (cell(1, '"28295.42"'), "line 2 .* as open"),
        (cell(1, '"28295\n.42"'), "line 2 .* columns"),
        (cell(1, "28295;42"), "line 2 .* as open"),
        (cell(1, "1_000"), "line 2 .* as open"),
        (cell(1, "0x10"), "line 2 .* as open"),
        (cell(5, "90.28 "), "line 2 .* as volume"),
        (cell(5, "null"), "line 2 .* as volume"),
        (cell(5, "1\x005"), "line 2 .* as volume"),
        (cell(6, "2023-03-24"), "line 2 .* as close_time"),
        (cell(8, "1040.0"), "line 2 .* as count"),
        (cell(8, "1e3"), "line 2 .* as count"),
        (f"#{NEXT}", "line 2 .* as open_time"),
        (HEADER, "line 2 .* as open_time"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["", "\n", f"\n{NEXT}\n"])
def test_archive_names_the_line_that_is_none_of_a_candle(line: str, words: str, end: str) -> None:
    """A line that is short, long, quoted, empty or holds no numbers is refused by its number, never shifted."""
    if not line and not end:
        assert len(candles(read(f"{ROW}\n{line}"))) == 1  # that is only the end of line 1
        return
    with pytest.raises(DecodeError, match=words):
        read(f"{ROW}\n{line}{end}")


def test_archive_refuses_text_that_is_none() -> None:
    """Bytes that are no UTF-8 are refused even in the column that is not used, in the line they stand in."""
    with pytest.raises(DecodeError, match=r"line 2 .* as ignore"):
        read(f"{ROW}\n{NEXT[:-1]}".encode() + b"\xff\n")


def test_archive_refuses_a_first_line_that_is_short() -> None:
    """The number of columns is not taken from the file."""
    with pytest.raises(DecodeError, match=r"line 1 .* has 11 columns"):
        read(f"{ROW.rpartition(',')[0]}\n{NEXT}\n")


@pytest.mark.parametrize("cut", range(1, len(NEXT) + 1))
def test_archive_refuses_a_last_row_that_is_cut(cut: int) -> None:
    """Wherever the last row ends early the file is refused, even where what is left of its number is one."""
    with pytest.raises(DecodeError, match="line 2"):
        read(f"{ROW}\n{NEXT[:-cut]}" if cut < len(NEXT) else f"{ROW}\n,")


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n", "  ", "\ufeff", HEADER, f"{HEADER}\n", f"{HEADER}\n\n"])
def test_archive_refuses_a_csv_without_rows(text: str) -> None:
    """An empty CSV is not a day without candles."""
    with pytest.raises(DecodeError, match=r"BTCUSDT-1m-2023-03-24"):
        read(text)


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("open,high", "high,open"), HEADER.removesuffix(",ignore"), HEADER.replace(",", ";"), "x" * 5000,
        "<html>",
    ],
)  # fmt: skip
def test_archive_refuses_a_header_that_it_does_not_know(header: str) -> None:
    """Columns in another order would silently be others."""
    with pytest.raises(DecodeError, match=r"line 1 .* header"):
        read(f"{header}\n{ROW}\n")


def test_archive_counts_lines_below_a_header() -> None:
    """The line that is named is the file's, its header included."""
    with pytest.raises(DecodeError, match="line 3 "):
        read(f"{HEADER}\n{ROW}\n{NEXT[:50]}\n")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no zip"),
        (b"<html>maintenance</html>", "no zip"),
        (zipped(ROW)[:-1], "no zip"),
        (zipped(ROW)[: len(zipped(ROW)) // 2], "no zip"),
        (zipped(ROW)[30:], "no zip|directory|cut"),
        (zipped(ROW, "ETHUSDT-1m-2023-03-24.csv"), "holds 'ETHUSDT-1m-2023-03-24.csv' instead of"),
        (zipped(ROW, "../BTCUSDT-1m-2023-03-24.csv"), "instead of"),
        (zipped(ROW, method=ZIP_BZIP2), "method 12"),
        (zipped("0" * (200 << 20)), "unpacks to 209715200"),
    ],
)
def test_archive_refuses_what_is_no_zip_of_its_csv(body: bytes, words: str) -> None:
    """Cut zips, other files' and bombs are told in words."""
    assert DAY is not None
    with pytest.raises(DecodeError, match=words):
        SPOT.read_candles(body, DAY)


def test_archive_refuses_a_zip_of_two_files() -> None:
    """One zip is one CSV."""
    packed = io.BytesIO()
    with ZipFile(packed, "w") as file:
        file.writestr("BTCUSDT-1m-2023-03-24.csv", ROW)
        file.writestr("more.csv", ROW)
    assert DAY is not None
    with pytest.raises(DecodeError, match="2 files"):
        SPOT.read_candles(packed.getvalue(), DAY)


def test_archive_refuses_a_zip_that_is_encrypted_or_lies() -> None:
    """The flag of encryption, another CRC and another size than stated are each refused."""
    assert DAY is not None
    body = zipped(f"{ROW}\n" * 50)
    entry = body.rindex(b"PK\x01\x02")
    for place, value, words in (
        (8, b"\x01", "encrypted"),
        (16, b"\xff\xff\xff\xff", "CRC"),
        (24, struct.pack("<I", 100), "another size"),
        (24, struct.pack("<I", 100_000), "another size"),
        (42, struct.pack("<I", 7), "directory"),
    ):
        wrong = body[: entry + place] + value + body[entry + place + len(value) :]
        with pytest.raises(DecodeError, match=words):
            SPOT.read_candles(wrong, DAY)


def test_archive_does_not_unpack_more_than_a_zip_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb that states a small size is cut off there, not unpacked and then measured."""
    taken = []

    class Deflate:
        error = zlib.error
        crc32 = staticmethod(zlib.crc32)

        @staticmethod
        def decompressobj(bits: int) -> "Deflate":
            taken.append(zlib.decompressobj(bits))
            return Deflate()

        @staticmethod
        def decompress(data: bytes, most: int) -> bytes:
            unpacked = taken[-1].decompress(data, most)
            assert len(unpacked) <= 101
            return unpacked

    monkeypatch.setattr(archive_files, "_deflate", Deflate)
    body = zipped("0" * 1_000_000)
    entry = body.rindex(b"PK\x01\x02") + 24
    with pytest.raises(DecodeError, match="another size"):
        archive_files.unpack(body[:entry] + struct.pack("<I", 100) + body[entry + 4 :], "BTCUSDT-1m-2023-03-24", 1000)
    assert len(taken) == 1


def test_archive_reads_the_same_with_either_inflater(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own zlib and whatever else is installed unpack the same candles."""
    text = "\n".join([ROW] * 1000)
    expected = candles(read(text))
    monkeypatch.setattr(archive_files, "_deflate", zlib)
    assert candles(read(text)) == expected


@pytest.mark.parametrize(
    ("archive", "text"),
    [
        (SPOT, "7,2.5,4.0,10.0,1679616000123,True,True\n8,2.5,2.0,5.0,1679616000124,False,True\n"),
        (SPOT, "7,2.5,4.0,10.0,1679616000123000,TRUE,True\n8,2.5,2.0,5.0,1679616000124000,false,True"),
        (USDM, "7,2.5,4.0,10.0,1679616000123,true\n8,2.5,2.0,5.0,1679616000124,false\n"),
        (USDM, f"{TRADES_HEADER}\n7,2.5,4.0,10.0,1679616000123,true\n8,2.5,2.0,5.0,1679616000124,False\n"),
    ],
)  # fmt: skip
def test_archive_reads_trades_of_either_market(archive: type, text: str, spot: Venue) -> None:
    """Flags in any case, a header or none, six columns or seven."""
    file = spot.archive.day(TRADES, "BTCUSDT", None, parse_time("2023-03-24"))
    assert file is not None
    columns = archive.read_trade_columns(zipped(text, "BTCUSDT-trades-2023-03-24.csv"), file)
    assert {name: values.tolist() for name, values in columns.items()} == {
        "trade_id": [7, 8], "price": [2.5, 2.5], "quantity": [4.0, 2.0], "quote_quantity": [10.0, 5.0],
        "time": [1679616000123000, 1679616000124000], "buyer_is_maker": [True, False], "first_id": [7, 8],
        "last_id": [7, 8],
    }  # fmt: skip
    assert columns["buyer_is_maker"].dtype == np.bool_


@pytest.mark.parametrize(
    ("archive", "text"),
    [
        (SPOT, "7,2.5,4.0,100,101,1679616000123,True,True\n8,0.0,0.0,-1,-1,1679616000124,False,True\n"),
        (USDM, f"{AGG_HEADER}\n7,2.5,4.0,100,101,1679616000123,true\n8,0,0,-1,-1,1679616000124,false\n"),
        (USDM, "7,2.5,4.0,100,101,1679616000123,true\n8,0,0,-1,-1,1679616000124,false\n"),
    ],
)  # fmt: skip
def test_archive_reads_aggregates_of_either_market(archive: type, text: str, spot: Venue) -> None:
    """Annulled ones stand as they are; their quote amount is not in the file."""
    file = spot.archive.day(AGG_TRADES, "BTCUSDT", None, parse_time("2023-03-24"))
    assert file is not None
    columns = archive.read_trade_columns(zipped(text, "BTCUSDT-aggTrades-2023-03-24.csv"), file)
    assert np.isnan(columns.pop("quote_quantity")).all()
    assert {name: values.tolist() for name, values in columns.items()} == {
        "trade_id": [7, 8], "price": [2.5, 0.0], "quantity": [4.0, 0.0], "first_id": [100, -1], "last_id": [101, -1],
        "time": [1679616000123000, 1679616000124000], "buyer_is_maker": [True, False],
    }  # fmt: skip


@pytest.mark.parametrize("flag", ["1", "yes", "", "Truth"])
def test_archive_refuses_flags_that_are_none(flag: str, spot: Venue) -> None:
    """A side that cannot be read is not guessed."""
    file = spot.archive.day(TRADES, "BTCUSDT", None, parse_time("2023-03-24"))
    assert file is not None
    body = zipped(f"7,2.5,4.0,10.0,1679616000123,{flag},True\n", "BTCUSDT-trades-2023-03-24.csv")
    with pytest.raises(DecodeError, match=r"line 1 .* as is_buyer_maker"):
        SPOT.read_trade_columns(body, file)


def mutated(body: bytes, rng: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                data[place] ^= 1 << rng.randrange(8)
            case 2:
                del data[place : place + rng.randint(1, 40)]
            case 3:
                data[place:place] = data[place : place + rng.randint(1, 40)]
            case _:
                data[place:place] = rng.randbytes(rng.randint(1, 4))
        data = data or bytearray(b"0")
    return bytes(data)


def test_archive_survives_damaged_zips() -> None:
    """Of two thousand damaged zips each gives the rows it had or a DecodeError, nothing else."""
    assert DAY is not None
    rng = random.Random(1)
    text = f"{ROW}\n{NEXT}\n" * 20
    body, expected = zipped(text), candles(read(text))
    refused = 0
    for _ in range(2000):
        try:
            assert candles(SPOT.read_candles(mutated(body, rng), DAY)) == expected
        except DecodeError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize("head", ["", f"{HEADER}\n", "\ufeff"])
def test_archive_survives_damaged_csvs(head: str) -> None:
    """Of damaged CSVs each gives rows that Python reads alike, or a DecodeError."""
    rng = random.Random(2)
    text = (head + f"{ROW}\n{NEXT}\n" * 4).encode()
    refused = 0
    for _ in range(1500):
        wrong = mutated(text, rng)
        try:
            found = candles(read(wrong))
        except DecodeError:
            refused += 1
            continue
        lines = wrong.decode().removeprefix("\ufeff").removesuffix("\n").split("\n")
        lines = [line.split(",") for line in lines if not line.lower().startswith("open_time")]
        assert len(found) == len(lines)
        for candle, line in zip(found, lines, strict=True):
            numbers = [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume,
                       candle.taker_buy_volume, candle.taker_buy_quote_volume]  # fmt: skip
            texts = [line[place] for place in (1, 2, 3, 4, 5, 7, 9, 10)]
            assert struct.pack("8d", *numbers) == struct.pack("8d", *map(float, texts))
            assert candle.trades == int(line[8])
    assert refused > 500
