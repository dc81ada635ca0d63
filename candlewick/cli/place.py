"""Checks of this machine for `candlewick doctor`: the store and the port."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from candlewick.cli.asking import ask_status, run_url
from candlewick.cli.findings import Finding, Verdict
from candlewick.cli.stored import folder_of, writer_now
from candlewick.config import Settings, masked
from candlewick.errors import CandlewickError, StoreTooNew
from candlewick.stores import open_store

LEAST_FREE_BYTES = 1 << 30


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything that can be known without the network."""
    folder = folder_of(settings)
    if folder is not None:
        rights = _rights(folder)
        yield rights
        yield _space(folder)
        if rights.verdict is Verdict.OK:
            yield _writer(settings)
            yield _content(settings, folder)
    else:
        yield _content(settings, folder)
    yield _port(settings)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if one.exists())


def _rights(folder: Path) -> Finding:
    nearest = _existing(folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return Finding("store folder", Verdict.OK, f"{folder} can be written")
    remedy = f"give this user the right to write {nearest}, or name another folder with STORE"
    return Finding("store folder", Verdict.BROKEN, f"{folder} cannot be written", remedy)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    if free >= LEAST_FREE_BYTES:
        return Finding("free space", Verdict.OK, f"{free / 1e9:.1f} GB")
    remedy = "make room: a year of one 1m series takes about 50 MB"
    return Finding("free space", Verdict.WARNING, f"{free / 1e9:.2f} GB", remedy)


def _writer(settings: Settings) -> Finding:
    writer = writer_now(settings)
    if writer is None:
        return Finding("store writer", Verdict.OK, "nobody writes the store now")
    where = f", which answers at {writer.url}" if writer.url else ""
    return Finding("store writer", Verdict.OK, f"process {writer.pid} writes the store{where}")


def _content(settings: Settings, folder: Path | None) -> Finding:
    if folder is not None and not (folder / "data.mdb").exists():
        return Finding("store", Verdict.OK, "there is none yet: the first run makes it")
    try:
        store = open_store(settings.record, write=False)
        try:
            series = store.series()
        finally:
            store.close()
    except StoreTooNew as error:
        return Finding("store", Verdict.BROKEN, str(error), "install the version that wrote it, or a later one")
    except CandlewickError as error:
        name = "LOCAL_STORE" if settings.is_shared else "STORE"
        remedy = f"restore the store from a copy, or name another with {name}"
        return Finding("store", Verdict.BROKEN, masked(str(error)), remedy)
    return Finding("store", Verdict.OK, f"{sum(one.rows for one in series)} candles in {len(series)} series")


def _port(settings: Settings) -> Finding:
    place = f"{settings.http_host}:{settings.feeder_port}"
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.http_host, settings.feeder_port))
    except OSError as error:
        if ask_status(run_url(settings)) is not None:
            return Finding("port", Verdict.OK, f"{place} is where a run answers")
        remedy = "stop what listens there, or set FEEDER_PORT (or HTTP_HOST) to another"
        return Finding("port", Verdict.BROKEN, f"{place} cannot be listened at: {error.strerror}", remedy)
    return Finding("port", Verdict.OK, f"{place} is free")
