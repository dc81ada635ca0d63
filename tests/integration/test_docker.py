"""The deployment for real: our image, built by an engine, with a database and a simulated exchange beside it.

TimescaleDB, pgAdmin, Prometheus and Grafana come from registries and are not started here: a PostgreSQL of Debian stands
in for the first, and test_pgadmin.py and test_prometheus.py start the programs of two of the others.
"""

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.processes import ask, free_port, wait_for
from tests.integration.engine import BASE, ROOT, Engine, engine_in, import_base

pytestmark = pytest.mark.slow

OURS = ("timescaledb", "feeder", "gap-handler")
OVERRIDE = """
services:
  feeder:
    build: {network: host}
    depends_on:
      exchange: {condition: service_started}
  exchange:
    image: candlewick:latest
    command: [simulate, --host, 0.0.0.0, --port, "9900", --speed, "4", --symbols, "BTCUSDT,ETHUSDT"]
    networks: [internal]
    healthcheck: {disable: true}
"""


FILES = (
    "deploy.sh", "cleanup.sh", "docker-compose.yml", ".env.example", "Dockerfile", ".dockerignore", "pyproject.toml",
    "constraints.txt", "hatch_build.py", "README.md", "LICENSE",
)  # fmt: skip


class Deployment:
    """A checkout of what deploy.sh needs, with an engine that has the layers of the images."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        folder.mkdir()
        for name in FILES:
            shutil.copy(ROOT / name, folder)
        for name in ("deploy", "candlewick"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "docker-compose.override.yml").write_text(OVERRIDE)
        self.said = ""
        self.ports = {name: free_port() for name in ("TIMESCALEDB_PORT", "FEEDER_PORT", "GAP_HANDLER_PORT")}
        self.settings = {
            "TIMESCALEDB_IMAGE": "candlewick-test-postgres", "POSTGRES_PRELOAD_LIBRARIES": "", "SYMBOLS": "BTCUSDT,ETHUSDT",
            "BINANCE_STREAM_URL": "ws://exchange:9900", "BINANCE_API_URL": "http://exchange:9900", "HISTORY_START": "1d",
            "HISTORICAL_BACKFILL_ENABLED": "false", "DEPLOY_TIMEOUT_S": "240",
        } | {name: str(port) for name, port in self.ports.items()}  # fmt: skip

    def script(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run deploy.sh or cleanup.sh."""
        return self.engine.attempt(f"./{words[0]}", *words[1:], folder=self.folder, within_s=600, **self.settings)

    def compose(self, *words: str) -> str:
        done = self.engine.attempt("docker-compose", *words, folder=self.folder, within_s=300, **self.settings)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sql(self, query: str) -> str:
        return self.engine.docker(
            "exec", "btc-ml-timescaledb", "psql", "--host=/tmp", "--username=mltrader", "--dbname=btc_ml_production",
            "--tuples-only", "--no-align", "--quiet", "--command", query,
        )  # fmt: skip

    def candles(self) -> int:
        return int(self.sql("SELECT count(*) FROM candles"))

    def health(self, name: str) -> str:
        return self.engine.docker("inspect", "--format", "{{.State.Health.Status}}", f"btc-ml-{name}")


def post(url: str, token: str = "") -> int:
    """The status of a POST."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, b"", headers), timeout=60) as answer:
            status: int = answer.status
            return status
    except HTTPError as error:
        with error:
            return error.code


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine_in(tmp_path_factory.mktemp("engine")) as engine:
        import_base(engine)
        engine.build("candlewick:latest", ROOT, "--build-arg", f"PYTHON_IMAGE={BASE}")
        folder = ROOT / "tests" / "integration" / "docker" / "postgres"
        engine.build("candlewick-test-postgres", folder, "--build-arg", f"PYTHON_IMAGE={BASE}")
        yield engine


@pytest.fixture(scope="module")
def deployment(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The services as deploy.sh has built and started them."""
    deployment = Deployment(engine, tmp_path_factory.mktemp("deployed") / "checkout")
    done = deployment.script("deploy.sh", *OURS)
    try:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        deployment.said = done.stdout + done.stderr
        yield deployment
    finally:
        deployment.script("cleanup.sh", "--yes", "--volumes")


def test_image_holds_what_runs_and_no_more(engine: Engine) -> None:
    """It runs as user 1000, answers with a read-only root, has neither compiler nor pip, and is below 700 MB here."""
    words = ("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL")
    assert engine.docker(*words, "candlewick:latest", "--version").startswith("candlewick ")
    shell = (*words, "--entrypoint=sh", "candlewick:latest", "-c")
    assert engine.docker(*shell, "id -u; id -g") == "1000\n1000"
    assert engine.docker(*shell, "command -v gcc pip curl || echo none") == "none"
    kernels = engine.docker(*shell, "find /opt/candlewick -path '*site-packages/candlewick*' -name 'lib*.so' | wc -l")
    assert int(kernels) == len(list((ROOT / "candlewick").rglob("*.c")))
    assert int(engine.docker("image", "inspect", "--format", "{{.Size}}", "candlewick:latest")) < 700_000_000


def test_deployed_services_are_healthy(deployment: Deployment) -> None:
    """All of them say so themselves, through the ports of .env, and no password was printed."""
    assert {name: deployment.health(name) for name in OURS} == dict.fromkeys(OURS, "healthy")
    for name in ("FEEDER_PORT", "GAP_HANDLER_PORT"):
        status, document = ask(f"http://127.0.0.1:{deployment.ports[name]}/health")
        assert status == 200
        assert document["database_status"] == "connected"
    env = deployment.folder / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    secrets = [
        line.partition("=")[2] for line in env.read_text().splitlines() if "PASSWORD=" in line or "TOKEN=" in line
    ]
    assert len(secrets) == 4
    assert [secret for secret in secrets if secret in deployment.said] == []


def test_callers_from_outside_need_the_token(deployment: Deployment) -> None:
    """Nobody can stop or steer a service through its port without CONTROL_TOKEN, and with it one can."""
    feeder, handler = (f"http://127.0.0.1:{deployment.ports[name]}" for name in ("FEEDER_PORT", "GAP_HANDLER_PORT"))
    token = next(
        line.partition("=")[2]
        for line in (deployment.folder / ".env").read_text().splitlines()
        if line.startswith("CONTROL_TOKEN=")
    )
    for url in (
        f"{handler}/shutdown",
        f"{handler}/backfill/unresolved",
        f"{handler}/backfill/historical/start",
        f"{feeder}/repair",
    ):
        assert post(url) in {401, 403}, url
        assert post(url, "x" * len(token)) in {401, 403}, url
    assert post(f"{handler}/backfill/unresolved", token) == 200
    assert post(f"{feeder}/repair", token) == 200


def test_commands_work_in_the_container(deployment: Deployment) -> None:
    """What operators are told to run beside the feeder reads its store: no candle is missing."""
    done = deployment.engine.attempt("docker", "exec", "btc-ml-feeder", "candlewick", "gaps")
    assert done.returncode == 0, done.stdout + done.stderr


def test_candles_arrive_in_the_database(deployment: Deployment) -> None:
    """What the exchange sends is in the table while it is sent, and the history before it without a hole."""
    before = deployment.candles()
    wait_for(lambda: deployment.candles() >= before + 4 or None, within_s=120)
    holes = deployment.sql(
        "SELECT count(*) FROM (SELECT time - lag(time) OVER (PARTITION BY symbol ORDER BY time) AS step FROM candles) AS steps"
        " WHERE step <> interval '1 minute'"
    )
    assert holes == "0"
    assert int(deployment.sql("SELECT min(n) FROM (SELECT count(*) AS n FROM candles GROUP BY symbol) AS each")) > 1_400


def test_database_may_be_restarted(deployment: Deployment) -> None:
    """A database that is killed and started again is connected to again, and has every candle of the meantime."""
    deployment.engine.docker("kill", "btc-ml-timescaledb")
    url = f"http://127.0.0.1:{deployment.ports['FEEDER_PORT']}/health"
    wait_for(lambda: ask(url)[1]["outputs"][0]["connected"] is False or None, within_s=60)
    deployment.compose("up", "--detach", "--no-build", "timescaledb")
    wait_for(lambda: deployment.health("timescaledb") == "healthy" or None, within_s=120)
    before = deployment.candles()
    wait_for(lambda: deployment.candles() >= before + 4 or None, within_s=120)
    test_candles_arrive_in_the_database(deployment)


def test_database_is_restored_from_its_backup(deployment: Deployment, tmp_path: Path) -> None:
    """A dump that is restored as documented goes on from where it was made: nothing is missing, nothing is there twice."""
    docker, name = deployment.engine.docker, "btc-ml-timescaledb"
    database = "--username=mltrader", "--host=/tmp"
    docker("exec", name, "pg_dump", *database, "--format=custom", "--file=/tmp/dump", "btc_ml_production")
    then = deployment.candles()
    wait_for(lambda: deployment.candles() >= then + 2 or None, within_s=120)
    deployment.compose("stop", "gap-handler", "feeder")
    now = deployment.candles()
    docker("exec", name, "dropdb", *database, "--force", "btc_ml_production")
    docker("exec", name, "createdb", *database, "btc_ml_production")
    docker("exec", name, "pg_restore", *database, "--dbname=btc_ml_production", "/tmp/dump", within_s=120)
    assert deployment.candles() == then
    done = deployment.script("deploy.sh", "--no-build", *OURS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    wait_for(lambda: deployment.candles() > now or None, within_s=120)
    test_candles_arrive_in_the_database(deployment)


def test_deploying_again_keeps_what_runs(deployment: Deployment) -> None:
    """Without changes a second deployment restarts nothing and keeps .env."""
    ids = deployment.compose("ps", "--quiet", *OURS)
    env = (deployment.folder / ".env").read_text()
    done = deployment.script("deploy.sh", "--no-build", *OURS)
    assert done.returncode == 0, done.stderr
    assert deployment.compose("ps", "--quiet", *OURS) == ids
    assert (deployment.folder / ".env").read_text() == env


def test_services_stop_by_themselves(deployment: Deployment) -> None:
    """Asked to stop, both end with exit code 0 before Docker kills them."""
    deployment.compose("stop", "gap-handler", "feeder")
    for name in ("feeder", "gap-handler"):
        state = json.loads(deployment.engine.docker("inspect", "--format", "{{json .State}}", f"btc-ml-{name}"))
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    deployment.compose("start", "feeder", "gap-handler")


def test_cleanup_keeps_data_until_it_is_told_otherwise(deployment: Deployment) -> None:
    """The containers go; the data goes only with --volumes."""
    engine = deployment.engine
    assert deployment.script("cleanup.sh", "--yes").returncode == 0
    assert engine.docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=candlewick") == ""
    volumes = engine.docker("volume", "ls", "--quiet")
    assert "candlewick_timescaledb-data" in volumes
    assert "candlewick_feeder-data" in volumes
    assert deployment.script("cleanup.sh", "--yes", "--volumes").returncode == 0
    assert "candlewick_" not in engine.docker("volume", "ls", "--quiet")
    assert (deployment.folder / ".env").exists()
