"""The compiled way to leaves makes those of the plain way, bit by bit."""

import numpy as np
import pytest

from candlewick.certificates import survey
from candlewick.certificates.encoding import COLUMNS, INTEGERS, Leaf, leaf_of
from candlewick.certificates.leaf_kernel import Kernel, kernel_for, loaded
from candlewick.certificates.survey import Part
from candlewick.market import Interval, Market, Series
from candlewick.stores.grid import BLOCK_SLOTS, slot_starts

MINUTE = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
MONTH = Series(Market.USDM, "ETHUSDT", Interval("1M"))


@pytest.fixture
def kernel() -> Kernel:
    found = loaded()
    if found is None:
        pytest.skip("the kernel was not compiled here")
    return found


def some_part(series: Series, seed: int, most: int) -> Part:
    """Blocks of one to `most` rows, anywhere in them, their words of all bits."""
    rng = np.random.default_rng(seed)
    first = 0 if series is MONTH else int(rng.integers(-3, 4_000))
    slots = np.concatenate([
        (first + block) * BLOCK_SLOTS + np.sort(rng.choice(BLOCK_SLOTS, int(rng.integers(1, most)), replace=False))
        for block in range(1 if series is MONTH else int(rng.integers(1, 21)))
        if block < 1 or rng.random() < 0.8
    ])  # fmt: skip
    if series is MONTH:
        slots = slots[slots < 3_000]
    words = rng.integers(0, 2**64, (len(COLUMNS), len(slots)), np.uint64)
    columns = {
        name: line.view(np.int64 if name in INTEGERS else np.float64) for name, line in zip(COLUMNS, words, strict=True)
    }
    columns["open_time"] = slot_starts(series.interval, slots)
    return Part(columns["open_time"], columns)


def plain(part: Part, series: Series) -> list[tuple[int, Leaf]]:
    """What the definition says, block by block."""
    blocks, _ = survey._blocks(part, series)
    return [
        (block, leaf_of({name: values[rows] for name, values in part.columns.items()}, series, block))
        for block, rows in blocks
    ]


@pytest.mark.parametrize("most", [2, 70, 900, BLOCK_SLOTS + 1])
@pytest.mark.parametrize("series", [MINUTE, MONTH], ids=str)
def test_kernel_makes_the_leaves_of_the_definition(kernel: Kernel, series: Series, most: int) -> None:
    """Hashes, sums and moments of blocks of any lengths, more or fewer than are hashed at once, are the plain ones."""
    del kernel
    for seed in range(3 if most > 900 else 12):
        part = some_part(series, seed, most)
        expected = plain(part, series)
        assert survey.leaves(part, series) == expected
        assert survey.digests(part, series) == [(block, leaf.sha256) for block, leaf in expected]


def test_leaves_are_the_same_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was compiled hashlib and numpy come to the same."""
    part = some_part(MINUTE, 5, 700)
    monkeypatch.setattr(survey, "kernel_for", lambda _: None)
    assert survey.leaves(part, MINUTE) == plain(part, MINUTE)
    assert survey.digests(part, MINUTE) == [(block, leaf.sha256) for block, leaf in plain(part, MINUTE)]


def test_kernel_hashes_titles_of_any_length(kernel: Kernel) -> None:
    """Names longer than there is room for are hashed the plain way, shorter ones across chunks."""
    del kernel
    for size in (*range(1, 140), 188, 189, 190, 191, 192, 193, 400):
        series = Series(Market.SPOT, "X" * size, MINUTE.interval)
        part = some_part(series, 1, 5)
        assert survey.leaves(part, series) == plain(part, series)
    assert kernel_for(Series(Market.SPOT, "X" * 400, MINUTE.interval)) is None


def test_no_rows_have_no_leaves() -> None:
    """An empty part has no blocks."""
    part = some_part(MINUTE, 1, 5)
    empty = Part(part.times[:0], {name: values[:0] for name, values in part.columns.items()})
    assert survey.leaves(empty, MINUTE) == []
    assert survey.digests(empty, MINUTE) == []
