"""Any split of a range into loads, in any order, with overlaps, comes to the same."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from candlewick.certificates.issue import certify
from candlewick.market import HOUR, Span, format_time, parse_time
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import certificate_of
from tests.unit.services.loading.archivist import NOW, SERIES, Archivist, candle_lines

START, END = parse_time("2023-01-20"), NOW
SPLITS = 40


@pytest.fixture(scope="module")
def archivist(tmp_path_factory: pytest.TempPathFactory) -> Archivist:
    """An archive with every trap, on which REST agrees with what is right."""
    made = Archivist(tmp_path_factory.mktemp("archive"))
    # Truncated although its checksum is right, and without a day:
    made.put(
        "2023-02", [line for line in made.take("2023-02")[:320] if not format_time(line[0]).startswith("2023-02-15")]
    )
    made.remove("2023-02-20")  # which the month lacks too
    shuffled = made.take("2023-03")
    Random(5).shuffle(shuffled)
    made.put("2023-03", [*shuffled, *shuffled[:30]])
    made.spoil_checksum("2023-03")
    made.spoil_checksum("2023-04-20")
    made.path("2023-04-22").write_bytes(b"this is no zip")
    made.state_checksum("2023-04-23", "not a checksum")
    made.put("2023-04-24", [*made.take("2023-04-24"), (0, made.take("2023-04-24")[3][1].replace(",0", ",1", 1))])
    wrong = made.take("2023-04-25")
    made.put("2023-04-25", [(time, text.replace(",", ",9", 1)) for time, text in wrong])
    made.spoil_checksum("2023-04-25")
    made.remove("2023-05-01")
    return made


State = tuple[bytes, list[tuple[Span, str, str]], str]


def state(store: MemoryStore) -> State:
    """What may not depend on how it was loaded: every row with its source, every reason with its evidence, the proof."""
    reasons = [(one.span, one.reason.value, one.evidence) for one in store.absences(SERIES)]
    return store.read(SERIES).tobytes(), reasons, certify(store, SERIES).content


@pytest.fixture(scope="module")
def whole(archivist: Archivist) -> State:
    """What one load of everything comes to."""
    store = MemoryStore()
    result = archivist.load(store, START, END)
    assert result.complete
    assert result.held == len(archivist.lines)
    return state(store)


def random_split(random: Random, last: int = END) -> list[Span]:
    """Spans that cover everything, in any order, some of them twice."""
    hours = (last - START) // HOUR
    cuts = sorted(random.sample(range(1, hours), random.randrange(1, 6)))
    edges = [START, *(START + cut * HOUR for cut in cuts), last]
    spans = []
    for start, end in pairwise(edges):
        early, late = random.randrange(0, 60) * HOUR, random.randrange(0, 60) * HOUR
        spans.append(Span(max(START, start - early), min(last, end + late)))
    random.shuffle(spans)
    return spans


@pytest.mark.parametrize("seed", range(SPLITS))
def test_split_loads_come_to_the_same(archivist: Archivist, whole: State, seed: int) -> None:
    """Rows, their sources, and reasons are those of one load of the whole range."""
    store = MemoryStore()
    for span in random_split(Random(seed)):
        archivist.load(store, span.start, span.end, certify=False)
    rows, reasons, proof = state(store)
    assert [one[:2] for one in reasons] == [one[:2] for one in whole[1]]
    assert rows == whole[0]
    assert proof == whole[2]


@pytest.mark.parametrize("seed", range(500, 505))
def test_split_loads_of_good_files_come_to_the_same_document(tmp_path: Path, seed: int) -> None:
    """Where no file has to be argued about, even the certificate is the same to the last byte."""
    archivist = Archivist(tmp_path)
    one, several = MemoryStore(), MemoryStore()
    archivist.load(one, START, END)
    for span in random_split(Random(seed)):
        archivist.load(several, span.start, span.end)
    assert certificate_of(several, SERIES) == certificate_of(one, SERIES)


@pytest.fixture(scope="module", params=["known to REST", "forgotten by REST"])
def delisted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archivist:
    """A symbol that stopped trading months ago."""
    made = Archivist(tmp_path_factory.mktemp("delisted"), candle_lines(), now=parse_time("2023-09-10T12:00"))
    made.remove("2023-03")
    if request.param == "forgotten by REST":
        made.forget(made.truth)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_split_loads_of_a_delisted_symbol_come_to_the_same(delisted: Archivist, seed: int) -> None:
    """Where it began, what it lacked and where it ended do not depend on how it was asked for."""
    end = parse_time("2023-09-01")
    one = MemoryStore()
    assert delisted.load(one, START, end).complete
    several = MemoryStore()
    for span in random_split(Random(1000 + seed), end):
        delisted.load(several, span.start, span.end, certify=False)
    assert state(several) == state(one)
