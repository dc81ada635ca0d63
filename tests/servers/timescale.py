"""A real TimescaleDB for tests: PGlite's build of it, behind a proxy that speaks PostgreSQL's protocol.

It carries the whole SQL of the extension. What it cannot do is written in timescale_proxy.mjs: transactions of several
clients run one after another, and no background job starts by itself (`CALL run_job(...)` runs one).
"""

import asyncio
import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "timescale"
WAIT_S = 60.0

# What a test may leave behind, in the order in which it can be dropped; objects of the extension stay.
CLEAR = """
DO $$
DECLARE item record;
BEGIN
  FOR item IN SELECT job_id FROM timescaledb_information.jobs
              WHERE job_id >= 1000 AND proc_schema NOT LIKE '\\_timescaledb\\_%' LOOP
    PERFORM delete_job(item.job_id);
  END LOOP;
  FOR item IN SELECT view_schema, view_name FROM timescaledb_information.continuous_aggregates LOOP
    EXECUTE format('DROP MATERIALIZED VIEW IF EXISTS %I.%I CASCADE', item.view_schema, item.view_name);
  END LOOP;
  FOR item IN SELECT nspname FROM pg_namespace AS n
              WHERE nspname NOT IN ('public', 'information_schema') AND nspname NOT LIKE 'pg\\_%'
                AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND objid = n.oid
                                AND deptype = 'e') LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', item.nspname);
  END LOOP;
  FOR item IN SELECT extname FROM pg_extension WHERE extname NOT IN ('plpgsql', 'timescaledb') LOOP
    EXECUTE format('DROP EXTENSION %I CASCADE', item.extname);
  END LOOP;
  FOR item IN SELECT c.oid::regclass AS name,
                     CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                  ELSE 'TABLE' END AS kind
              FROM pg_class AS c
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
                AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                                AND deptype = 'e') LOOP
    IF EXISTS (SELECT FROM pg_class WHERE oid::regclass::text = item.name::text) THEN
      EXECUTE format('DROP %s IF EXISTS %s CASCADE', item.kind, item.name);
    END IF;
  END LOOP;
  FOR item IN SELECT p.oid::regprocedure AS name FROM pg_proc AS p
              WHERE pronamespace = 'public'::regnamespace
                AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
                                AND deptype = 'e') LOOP
    EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', item.name);
  END LOOP;
  FOR item IN SELECT t.oid::regtype AS name FROM pg_type AS t
              WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r', 'c')
                AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = t.oid
                                AND deptype = 'e') LOOP
    EXECUTE format('DROP TYPE IF EXISTS %s CASCADE', item.name);
  END LOOP;
  FOR item IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP
    EXECUTE format('DROP OWNED BY %I CASCADE', item.rolname);
    EXECUTE format('DROP ROLE %I', item.rolname);
  END LOOP;
  EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$
"""
# What is there: a database that was cleared has the same as a fresh one.
INVENTORY = """
SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM (
  SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
  UNION ALL SELECT 'routine ' || oid::regprocedure FROM pg_proc
  UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%temp\\_%'
  UNION ALL SELECT 'role ' || rolname FROM pg_roles
  UNION ALL SELECT 'extension ' || extname FROM pg_extension
  UNION ALL SELECT 'job ' || job_id FROM timescaledb_information.jobs
  UNION ALL SELECT 'setting ' || setdatabase || ' ' || setrole FROM pg_db_role_setting
) AS things (name)
"""


class TimescaleServer:
    """One in-memory TimescaleDB, reached over the loopback address; it ends with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = ""
        self.port = 0

    @property
    def url(self) -> str:
        """The address of its only database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it with an empty database that has the extension."""
        assert self._process is None, "it runs already"
        self._process = subprocess.Popen(
            ["node", HERE / "timescale_proxy.mjs", CACHE, CACHE / "empty.tar"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self.stop()
            raise RuntimeError("TimescaleDB did not start; what it said is above")
        self.port = json.loads(said)["port"]
        self._fresh = asyncio.run(_cleared(self.url))

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self._process is not None:
            self._process.communicate(timeout=WAIT_S)
            self._process = None

    def clear(self) -> None:
        """Have the database empty again: by dropping what was made, or by a new server where that leaves something."""
        try:
            left = asyncio.run(_cleared(self.url))
        except (OSError, asyncpg.PostgresError):
            left = "no answer"
        if left != self._fresh:
            self.stop()
            self.start()


def provision() -> None:
    """Install the pinned package into the checkout's `.cache/` unless it is there.

    Raises:
        RuntimeError: it cannot be: npm, node or the registry is not there.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise RuntimeError("node and npm are not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test runs at once, one installs
        files = [HERE / "package.json", HERE / "package-lock.json"]
        installed = CACHE / "installed"
        wanted = "".join(path.read_text() for path in files)
        if installed.exists() and installed.read_text() == wanted:
            return
        for path in files:
            shutil.copy(path, CACHE)
        (CACHE / "empty.tar").unlink(missing_ok=True)
        words = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(words, cwd=CACHE, check=False, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"npm ci failed: {done.stderr.strip()[:300]}")
        installed.write_text(wanted)


async def _cleared(url: str) -> str:
    """Drop everything that a test made; what is there then."""
    connection = await asyncpg.connect(url, timeout=WAIT_S)
    try:
        await connection.execute("DISCARD TEMP; RESET ALL; SELECT pg_advisory_unlock_all(); SET search_path TO public")
        await connection.execute(CLEAR)
        return str(await connection.fetchval(INVENTORY))
    finally:
        await connection.close()


if __name__ == "__main__":
    try:
        provision()
    except RuntimeError as error:
        sys.exit(str(error))
