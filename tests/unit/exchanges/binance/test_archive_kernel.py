"""The compiled reader of archive files: whatever it takes, polars takes alike, bit by bit; all else it leaves alone."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from candlewick.errors import DecodeError
from candlewick.exchanges.binance import archive_files, archive_kernel
from candlewick.exchanges.binance.archive_files import Layout
from candlewick.exchanges.binance.archive_kernel import Kernel, Kind

KLINES, TRADES, AGG_TRADES = archive_files._KLINES, archive_files._TRADES, archive_files._AGG_TRADES
SPOT_TRADES = Layout((*TRADES.columns, archive_files._BEST_MATCH))

ROW = (
    "1679616000000,28295.42000000,28305.41000000,28292.24000000,28302.33000000,90.28077000,1679616059999,"
    "2554807.39801410,1040,55.72565000,1576802.32380560,0"
)
TRADE = "7,2.5,4.0,10.0,1679616000123,True,True"
AGGREGATE = "8,0.0,0,-1,-1,1679616000124,false"
HEADER = ",".join(KLINES.header)


@pytest.fixture
def kernel() -> Kernel:
    found = archive_kernel.loaded()
    if found is None:
        pytest.skip("the kernel was not compiled here")
    return found


def both(kernel: Kernel, text: bytes, layout: Layout) -> bool:
    """Whether the kernel takes a text; if so it and polars make the same of it."""
    try:
        extra = archive_files._header(text, layout, "x")
    except DecodeError:
        return False
    found = archive_files._read_plain(kernel, text, layout, extra)
    if found is None:
        return False
    expected = archive_files._read_any(text, layout, "x", extra)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].tobytes() == values.tobytes(), (name, text)
    return True


def decimals(kernel: Kernel, texts: list[str]) -> np.ndarray | None:
    found = kernel.read("\n".join(texts).encode(), 0, [("x", Kind.DECIMAL)])
    return None if found is None else found["x"]


@pytest.mark.data
def test_kernel_reads_every_recorded_file(kernel: Kernel, recordings: Path) -> None:
    """No file of the archive is left to polars, and each gives the columns that polars makes of it."""
    rows = 0
    for path in sorted((recordings / "archive").rglob("*")):
        if path.suffix == ".csv":
            text = path.read_bytes()
        elif path.suffix == ".zip":
            with ZipFile(path) as packed:
                text = packed.read(f"{path.stem}.csv")
        else:
            continue
        assert both(kernel, text, KLINES), path.name
        rows += text.count(b"\n")
    assert rows > 180_000


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("head", ["", "\ufeff", f"{HEADER}\n", f"\ufeff{HEADER.upper()}\r\n", f"{HEADER},more,x\n"])
def test_kernel_reads_every_dialect(kernel: Kernel, head: str, end: str) -> None:
    """Line ends, a byte order mark, a header and columns behind those known make nothing that is left to polars."""
    row = f"{ROW},1,z" if "more" in head else ROW
    for rows in (1, 2, 700):
        assert both(kernel, (head + end.join([row] * rows) + end).encode(), KLINES)
        assert both(kernel, (head + end.join([row] * rows)).encode(), KLINES)


@pytest.mark.parametrize(
    ("row", "layout"),
    [(TRADE, SPOT_TRADES), (TRADE.rpartition(",")[0].replace("True", "fALSE"), TRADES), (AGGREGATE, AGG_TRADES)],
)
def test_kernel_reads_trades(kernel: Kernel, row: str, layout: Layout) -> None:
    """Flags in any case and the negative numbers of annulled trades are plain too."""
    assert both(kernel, f"{row}\n{row}\n".encode(), layout)


def test_kernel_reads_what_polars_reads_alike(kernel: Kernel) -> None:
    """Of thousands of mutated files the kernel takes none that polars refuses, and reads the others alike."""
    rng = random.Random(16)
    texts = [
        (f"{head}{row}{end}" * times, layout)
        for row, layout in ((ROW, KLINES), (TRADE, SPOT_TRADES), (AGGREGATE, AGG_TRADES))
        for head in ("", "\ufeff")
        for end in ("\n", "\r\n")
        for times in (1, 3)
    ] + [(f"{HEADER}\n{ROW}\n{ROW}\n", KLINES)]
    odd = [b"0", b"00000000", b".", b",", b"-", b"\r", b"\n", b"\r\n", b"e1", b"true", b" ", b'"', b"+", b"\0", b"#",
           b"nan", b"1" * 19, b"null", b"\xff", "\u0661".encode()]  # fmt: skip
    taken = 0
    for _ in range(6_000):
        text, layout = rng.choice(texts)
        data = bytearray(text.encode())
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(data))
            match rng.randrange(6):
                case 0:
                    data[place] = rng.randrange(256)
                case 1:
                    data[place] ^= 1 << rng.randrange(8)
                case 2:
                    del data[place : place + rng.randint(1, 40)]
                case 3:
                    data[place] = rng.choice(b"0123456789012345678901234567890123456789.,-\r\nTre")
                case _:
                    data[place:place] = rng.choice(odd)
            data = data or bytearray(b"0")
        taken += both(kernel, bytes(data), layout)
    assert 500 < taken < 5_000


def test_kernel_numbers_are_the_nearest_doubles(kernel: Kernel) -> None:
    """Numbers of up to 38 digits, and those halfway between doubles or one digit beside it, are read like Python's float."""
    rng = random.Random(17)
    texts = []
    for _ in range(12_000):
        digits = "".join(rng.choices("0123456789", k=rng.randint(1, 38)))
        point = rng.randint(max(1, len(digits) - 19), len(digits))
        texts.append(f"{digits[:point]}.{digits[point:]}".removesuffix("."))
        texts.append(f"{rng.randrange(10 ** rng.randint(1, 12))}.{rng.randrange(10**8):08d}")
        places = rng.randint(1, 18)
        half = Fraction(rng.randrange(2**53, 2**54) | 1, 2**places)
        scaled = str(int(half * 10**places))
        texts += [
            f"{scaled[:-places]}.{scaled[-places:]}{nudge}"
            for nudge in ("", "0", "00000000000000001")
            if len(scaled) + len(nudge) <= 38 and places + len(nudge) <= 19
        ]
    texts += [str(2**53 + step) for step in range(-3, 4)] + [
        "0.0",
        "0",
        "00012.50",
        "9" * 19,
        "9" * 38,
        "0." + "9" * 19,
    ]
    found = decimals(kernel, texts)
    assert found is not None
    assert found.tobytes() == np.array([float(text) for text in texts]).tobytes()


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", ".", "-1", "+1", "1e5", "nan", "inf", " 1", "1 ", "1..2", "1.2.3", "1" * 39, "0." + "1" * 20]
)  # fmt: skip
def test_kernel_leaves_other_numbers_alone(kernel: Kernel, text: str) -> None:
    """What is no digits with at most one point between them is polars' to judge, wherever it stands."""
    assert decimals(kernel, ["1", text, "2"]) is None
    assert decimals(kernel, [text, "2"]) is None
    assert kernel.read(f"1,{text}\n".encode(), 0, [("a", Kind.INT), ("b", Kind.DECIMAL)]) is None


@pytest.mark.parametrize("text", ["", "-", "1.0", "1" * 19, "+1", "--1", "1-", " 1", "1e3"])
def test_kernel_leaves_other_whole_numbers_alone(kernel: Kernel, text: str) -> None:
    """Whole numbers have up to eighteen digits, and a minus at most."""
    assert kernel.read(f"{text}\n2\n".encode(), 0, [("a", Kind.INT)]) is None


def test_kernel_leaves_lines_of_any_length_alone(kernel: Kernel) -> None:
    """A line longer than what is looked at at a time is not read; lines up to that are, wherever they are cut."""
    for size in (1, 100, 5_000, 16_000):
        found = kernel.read(f"1,{'x' * size}\n".encode() * 50, 0, [("a", Kind.INT), (None, Kind.TEXT)])
        assert found is not None
        assert found["a"].tolist() == [1] * 50
    assert kernel.read(f"1,{'x' * 20_000}\n".encode(), 0, [("a", Kind.INT), (None, Kind.TEXT)]) is None


def test_kernel_reads_from_where_it_is_told(kernel: Kernel) -> None:
    """Numbers at the very beginning are not mixed with what is before them, and no rows are no columns."""
    assert kernel.read(b"99\n5\n", 3, [("a", Kind.INT)])["a"].tolist() == [5]  # type: ignore[index]
    assert kernel.read(b"99\n", 3, [("a", Kind.INT)]) is None
    assert kernel.read(b"1\r", 0, [("a", Kind.INT)]) is None


def test_kernel_serves_threads(kernel: Kernel) -> None:
    """Files read at the same time are those read one after the other."""
    texts = [("\n".join([ROW.replace("90.28077000", f"{at}.5")] * 500) + "\n").encode() for at in range(16)]
    with ThreadPoolExecutor(4) as pool:
        volumes = [
            columns["volume"] for columns in pool.map(lambda text: archive_files._read(text, KLINES, "x"), texts)
        ]
    assert [set(one.tolist()) for one in volumes] == [{at + 0.5} for at in range(16)]


@pytest.fixture(params=[True, False], ids=["kernel", "polars"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read with the kernel, and without it."""
    if not request.param:
        monkeypatch.setattr(archive_kernel, "loaded", lambda: None)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{ROW}\n{ROW},1\n", "line 2 of x.csv has 13 columns instead of 12"),
        (f"{ROW}\n\n{ROW}\n", "line 2 of x.csv is empty"),
        (f"{ROW}\n{ROW.replace('1040', '10.40')}\n", "line 2 of x.csv has '10.40' as count, which is no whole number"),
        (f"{HEADER}\n", "x.csv has no line besides its header"),
        (HEADER, "x.csv has no line besides its header"),
        (f"{HEADER}\n{ROW[:-2]}", "line 2 of x.csv has 11 columns instead of 12"),
    ],
)
def test_archive_refuses_in_the_same_words_either_way(text: str, words: str) -> None:
    """What is wrong with a file does not depend on whether the kernel was compiled."""
    with pytest.raises(DecodeError, match=words):
        archive_files._read(text.encode(), KLINES, "x")


def test_kernel_needs_no_polars(kernel: Kernel) -> None:
    """A file that is plainly written is read without the tenth of a second that importing polars takes."""
    del kernel
    script = (
        "import sys\nfrom candlewick.exchanges.binance import archive_files as files\n"
        f"files._read({ROW!r}.encode(), files._KLINES, 'x')\nsys.exit('polars' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
