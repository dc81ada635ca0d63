"""The document: what it reads back as, and that nothing in it can be changed unnoticed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from candlewick.certificates.consistency import contradictions
from candlewick.certificates.document import Certificate, Range
from candlewick.certificates.issue import certify
from candlewick.errors import DecodeError
from candlewick.market import MINUTE, Span
from candlewick.stores.memory import MemoryStore
from tests.unit.certificates.held import OUTAGE, SERIES, T0, fill, load_verifier

verifier = load_verifier()


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    """That of the sample."""
    store = MemoryStore()
    fill(store)
    return certify(store, SERIES)


def leaves(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each text, number and flag in a document."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, key))
    else:
        yield path


def altered(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, str)
    return (value[:-1] + ("0" if value[-1] != "0" else "1")) if value else "x"


def complaints(document: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, int]:
    """What both verifiers find in a document alone."""
    try:
        ours = len(contradictions(Certificate.from_json(document)))
    except DecodeError:
        ours = 1
    theirs = verifier.verify(document, None)
    capsys.readouterr()
    return ours, theirs


def test_document_reads_back_as_it_was(certificate: Certificate) -> None:
    """The same statements, the same bytes, sorted keys, and a line for each block."""
    document = certificate.to_json()
    assert Certificate.from_json(document) == certificate
    assert Certificate.from_json(document).to_json() == document
    assert list(json.loads(document)) == sorted(json.loads(document))
    assert document.count(b'{"block":') == len(certificate.blocks) == 3
    assert document.endswith(b"\n}\n")


def test_own_hashes_hold_and_layout_does_not_matter(certificate: Certificate) -> None:
    """A certificate that was issued has no contradiction, however its JSON is laid out."""
    assert contradictions(certificate) == []
    again = Certificate.from_json(json.dumps(json.loads(certificate.to_json()), indent=4).encode())
    assert contradictions(again) == []


def test_every_alteration_of_the_document_is_found(
    certificate: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each text, number and flag changed by itself, and each entry removed: both verifiers complain."""
    document = certificate.to_json()
    assert complaints(document, capsys) == (0, 0)
    whole = json.loads(document)
    paths = list(leaves(whole))
    assert len(paths) > 200
    for path in paths:
        one = json.loads(document)
        place = one
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = altered(place[path[-1]])
        assert min(complaints(json.dumps(one).encode(), capsys)) > 0, path
    for key in whole:
        one = json.loads(document)
        if isinstance(one[key], list) and one[key]:
            one[key].pop()
        else:
            del one[key]
        assert min(complaints(json.dumps(one).encode(), capsys)) > 0, key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no certificate"),
        (b"[1]", "no certificate"),
        (b'{"present":1,"present":2}', "twice"),
        (b'{"present":1.0}', "no whole number"),
        (b'{"present":NaN}', "no whole number"),
        (b"[" * 100_000, "no certificate"),
        (b"\xff\xfe\x00", "no certificate"),
    ],
)
def test_what_is_no_certificate_is_refused(text: bytes, words: str) -> None:
    """Broken JSON, keys given twice, fractions, deep nesting and no text: an error that says so."""
    with pytest.raises(DecodeError, match=words):
        Certificate.from_json(text)


def test_other_keys_and_versions_are_refused(certificate: Certificate) -> None:
    """A key that is not known, and a version that is to come."""
    document = json.loads(certificate.to_json())
    with pytest.raises(DecodeError, match="unknown field"):
        Certificate.from_json(json.dumps({**document, "signed": True}).encode())
    with pytest.raises(DecodeError, match="later one"):
        Certificate.from_json(json.dumps({**document, "version": 2}).encode())


def test_sealed_lies_contradict_themselves(certificate: Certificate, capsys: pytest.CaptureFixture[str]) -> None:
    """Statements that do not fit each other are found although all hashes over them fit."""
    one = certificate
    first, second, *others = one.certified
    spanning = Range(first.start_ms, second.end_ms, first.candles + second.candles)
    shifted = replace(one.absences[0], start_ms=one.absences[0].start_ms - 60_000)
    lies = {
        "a range over a hole": replace(one, certified=(spanning, *others)),
        "two ranges where one is": replace(
            one, certified=(Range(first.start_ms, first.start_ms + 60_000, 1),
                            Range(first.start_ms + 60_000, first.end_ms, first.candles - 1), second, *others)
        ),
        "a hole moved": replace(one, absences=(shifted, *one.absences[1:])),
        "no hole": replace(one, absences=one.absences[1:], absent=0),
        "complete": replace(one, complete=True),
        "a candle more": replace(one, present=one.present + 1, missing=one.missing - 1),
        "a block left out": replace(one, blocks=one.blocks[1:]),
        "blocks in another order": replace(one, blocks=one.blocks[::-1]),
        "no evidence": replace(one, absences=(replace(one.absences[0], evidence=""), *one.absences[1:])),
        "live rows as REST": replace(
            one, sources=(*one.sources[:-1], replace(one.sources[-1], source="rest"))
        ),
        "no source": replace(one, sources=one.sources[1:]),
        "more rows than fit": replace(one, sources=(replace(one.sources[0], rows=1_441), *one.sources[1:])),
        "a file that did not match": replace(
            one, sources=(replace(one.sources[0], checksum="ab" * 32), *one.sources[1:])
        ),
        "a halt in a hole": replace(one, halts=(Range(OUTAGE.start // 1000, OUTAGE.end // 1000, 80),)),
        "another end": replace(one, end_ms=one.end_ms + 60_000),
        "off the grid": replace(one, start_ms=one.start_ms + 1),
        "another range in words": replace(one, range=str(Span(T0, T0 + MINUTE))),
        "no series": replace(one, series="spot:BTCUSDT"),
        "another spelling": replace(one, series="spot:btcusdt:1m"),
    }  # fmt: skip
    found = {name: complaints(lie.sealed().to_json(), capsys) for name, lie in lies.items()}
    assert [name for name, (ours, theirs) in found.items() if not ours or not theirs] == []
