"""Aggregate trades from the socket to a consumer, and the same frames through two other clients in the same run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import frames
from benchmarks.blaster import Blaster, blaster
from benchmarks.place import MEASURED_CORE, alone, environment, pinned
from benchmarks.table import Result, skipped
from benchmarks.throughput import Rate, bare_round, judge, trade_round

NAMES = frames.symbols(10)
EACH = 60_000
PEER_FRAMES = 120_000
ROUNDS = 3
TIMES_FASTER = 4.0
PEER_S = 60


class Peer(NamedTuple):
    """A client to compare with: what pip installs, our script that drives it, and for which Python."""

    package: str
    script: str
    python: str = sys.executable
    option: tuple[str, ...] = ()


def peers() -> list[Peer]:
    found = [Peer("cryptofeed", "peer_cryptofeed.py")]
    if sys.version_info < (3, 13) and (newer := _newer_python()) is not None:
        found.append(Peer("cryptofeed", "peer_cryptofeed.py", newer))
    unicorn = "unicorn-binance-websocket-api"
    return [
        *found,
        Peer(unicorn, "peer_unicorn.py", option=("websockets",)),
        Peer(f"{unicorn}[picows]", "peer_unicorn.py", option=("picows",)),
    ]


def _newer_python() -> str | None:
    """Some releases of the others need a later Python than this one."""
    known = sorted(Path.home().glob(".pyenv/versions/3.1[3-9]*/bin/python"))
    for candidate in (*map(shutil.which, ("python3.14", "python3.13")), *map(str, known)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def _version(python: Path, peer: Peer) -> str:
    name = peer.package.partition("[")[0]
    code = f"import sys, importlib.metadata as m; print(m.version('{name}'), '(Python %d.%d)' % sys.version_info[:2])"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def peer_round(server: Blaster, python: Path, peer: Peer) -> Rate:
    script = Path(__file__).with_name(peer.script)
    command = [python, script, server.url, str(PEER_FRAMES), *peer.option, *NAMES]
    with (
        pinned(MEASURED_CORE),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            server.start("wait", 1.5, PEER_S)
            if not server.result():
                raise RuntimeError(f"{peer.package} did not connect")
            began_ns, _ = server.ask("blast")
            out, _ = process.communicate(timeout=PEER_S)
        finally:
            process.kill()
    found = json.loads(out.splitlines()[-1])
    return Rate(PEER_FRAMES / (found["finished_ns"] - began_ns) * 1e9, found["cpu_s"] / PEER_FRAMES * 1e6)


def trades() -> list[Result]:
    usable, results = [], []
    for peer in peers():
        try:
            python = environment(peer.python, peer.package, "uvloop")
            usable.append((peer, python, f"{peer.package} {_version(python, peer)}"))
        except (OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", "") or str(error)
            results.append(skipped(peer.package, "cannot be installed: " + words.strip().splitlines()[-1][:150]))
    ours: list[Rate] = []
    bare: list[Rate] = []
    theirs: dict[str, list[Rate]] = {name: [] for _, _, name in usable}
    with blaster(frames.agg_trade_blocks, NAMES, EACH) as server:
        for _ in range(ROUNDS):  # in turns, so that a busy spell of the machine is nobody's alone
            bare.append(alone(bare_round, server, len(NAMES) * (EACH + EACH // frames.REPEATED)))
            ours.append(alone(trade_round, server, NAMES, EACH))
            for peer, python, name in usable:
                theirs[name].append(peer_round(server, python, peer))
    compared = []
    for peer, _, name in usable:
        rates = theirs[name]
        # Round by round: what slows the machine for a while slows both.
        times = [mine.per_s / other.per_s for mine, other in zip(ours, rates, strict=True)]
        cpu = median(rate.cpu_us for rate in rates)
        rate = median(rate.per_s for rate in rates)
        note = f"{name}, to a bare callback: {rate:,.0f} /s, best {max(rates).per_s:,.0f}; {cpu:.2f} us CPU a frame"
        # What users get is what a plain install gives them; an optional transport is shown, and promised nothing.
        target = None if "[" in peer.package else TIMES_FASTER
        compared.append(Result(f"times faster than {peer.package}", median(times), "x", target, note=note))
    return [
        judge("aggTrade, socket to consumer, ids checked, each id once", ours, 350_000),
        judge("the same through picows and msgspec and nothing else", bare, None),
        *compared,
        *results,
    ]
