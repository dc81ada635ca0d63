"""`candlewick run`, `feeder` and `gap-handler`: that they end well whenever they are told to."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.processes import environment

TOLD_EARLY = """
import asyncio, os, signal, sys
from candlewick.cli import main
from candlewick.services import supervisor
from candlewick.services.gap_handler import service

async def run(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

supervisor.run = service.run = run
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["run", "feeder", "gap-handler"])
def test_sigterm_before_anything_runs_ends_it_with_0(tmp_path: Path, name: str) -> None:
    """A stop in the first second, before anything was received, is one like any other."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD_EARLY, name],
        env=environment(tmp_path, DB_PASSWORD="secret"), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
