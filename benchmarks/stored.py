"""The store alone: the lines of `benchmarks/store.py` for the one table."""

import tempfile
from pathlib import Path

from benchmarks import store
from benchmarks.place import alone, folder
from benchmarks.table import Result


def store_rows(place: Path) -> list[store.Row]:
    """On a disk rather than where temporary files are."""
    tempfile.tempdir = str(place)
    return store.run()


def stored() -> list[Result]:
    with folder() as place:
        return [Result(f"store: {one.what}", one.value, one.unit) for one in alone(store_rows, place)]
