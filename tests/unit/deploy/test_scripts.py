"""deploy.sh and cleanup.sh, with a `docker` that only writes down what it is asked; the real one is in test_docker.py."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.composed import ROOT, tool

SERVICES = ("timescaledb", "feeder", "gap-handler", "pgadmin", "prometheus", "grafana")
INSPECT_FEEDER = (
    "inspect --format {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}"
    "{{if .State.Running}} without a health check{{end}}{{end}} feeder-id"
)
SECRETS = ("DB_PASSWORD", "PGADMIN_DEFAULT_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "CONTROL_TOKEN")


class Machine:
    """A checkout of what the scripts need, on a machine whose Docker is not real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        for name in ("deploy.sh", "cleanup.sh", "docker-compose.yml", ".env.example"):
            shutil.copy(ROOT / name, self.folder)
        shutil.copytree(ROOT / "deploy", self.folder / "deploy")
        self.fake = folder / "fake"
        (self.fake / "answers").mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        shutil.copy(Path(__file__).with_name("fake_docker.sh"), programs / "docker")
        self.path = f"{programs}:/usr/bin:/bin"
        self.answer("version --format", "28.2.2")
        self.answer("compose version --short", "2.39.1")
        self.answer("compose config --services", "\n".join(SERVICES))
        self.answer("compose ps --all --quiet", "0123abcd")
        self.answer("inspect", "healthy")

    def answer(self, call: str, text: str, code: int = 0) -> None:
        """What Docker prints when it is called with words that begin like these."""
        (self.fake / "answers" / call.replace("/", "_")).write_text(f"{code}\n{text}\n", encoding="utf-8")

    def run(self, *words: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        (self.fake / "calls").write_text("")
        return subprocess.run(
            [f"./{words[0]}", *words[1:]], cwd=self.folder, input=typed, capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": self.path, "FAKE": str(self.fake), "POLL_S": "0", "DEPLOY_TIMEOUT_S": "0"} | environment,
        )  # fmt: skip

    @property
    def calls(self) -> list[str]:
        """What Docker was asked in the last run."""
        return (self.fake / "calls").read_text(encoding="utf-8").splitlines()

    @property
    def env(self) -> dict[str, str]:
        """What `.env` sets."""
        return dict(re.findall(r"^([A-Z_]+)=(.*)$", (self.folder / ".env").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_secrets_are_made_and_kept_to_oneself(machine: Machine) -> None:
    """A first deployment makes .env with different passwords of 25 characters or more that only its owner can read."""
    done = machine.run("deploy.sh")
    assert done.returncode == 0, done.stderr
    secrets = [machine.env[name] for name in SECRETS]
    assert len(set(secrets)) == len(SECRETS)
    assert all(re.fullmatch(r"[A-Za-z0-9]{25,}", secret) for secret in secrets)
    assert stat.S_IMODE((machine.folder / ".env").stat().st_mode) == 0o600
    assert {path.name for path in machine.folder.glob(".env*")} == {".env", ".env.example"}


def test_nothing_secret_is_printed(machine: Machine) -> None:
    """Neither what it says nor what it passes to Docker holds a password."""
    done = machine.run("deploy.sh")
    said = done.stdout + done.stderr + "\n".join(machine.calls)
    assert [name for name in SECRETS if machine.env[name] in said] == []


def test_deploying_again_changes_nothing(machine: Machine) -> None:
    """The second time .env stays as it is, and the same is done."""
    machine.run("deploy.sh")
    first, calls = (machine.folder / ".env").read_text(), machine.calls
    done = machine.run("deploy.sh")
    assert done.returncode == 0
    assert (machine.folder / ".env").read_text() == first
    assert machine.calls == [call for call in calls if not call.startswith("volume ls")]


def test_order_of_a_deployment(machine: Machine) -> None:
    """The image is built and the settings are checked before anything starts, the schema is set up before the services."""
    machine.run("deploy.sh")
    steps = (
        "compose config --quiet", "compose build feeder", "compose run --rm --no-deps -T feeder config check",
        "compose up --detach timescaledb", "compose run --rm --no-deps -T feeder schema init",
        f"compose up --detach --no-build {' '.join(SERVICES)}", "compose run --rm --no-deps -T feeder schema check",
    )  # fmt: skip
    assert [call for call in machine.calls if call in steps] == list(steps)


@pytest.mark.parametrize(
    "state", ["unhealthy", "starting", "running", "created", "exited", "restarting without a health check"]
)
def test_only_healthy_is_healthy(machine: Machine, state: str) -> None:
    """A service that answers 503, or is merely there, is no success: its state and last lines are shown, exit code 1."""
    machine.answer("compose ps --all --quiet feeder", "feeder-id")
    machine.answer(INSPECT_FEEDER, state)
    machine.answer("compose logs", "the words of the service")
    done = machine.run("deploy.sh")
    assert done.returncode == 1
    assert f"feeder is {state}" in done.stderr
    assert "not healthy after 0 s: feeder" in done.stderr
    assert "everything is healthy" not in done.stdout


def test_service_without_a_check_has_to_run(machine: Machine) -> None:
    """One that an override file adds and that cannot say how it is, is waited for until it runs, not for ever."""
    machine.answer("compose ps --all --quiet feeder", "feeder-id")
    machine.answer(INSPECT_FEEDER, "running without a health check")
    done = machine.run("deploy.sh")
    assert done.returncode == 0, done.stderr
    assert "everything is healthy" in done.stdout


def test_places_are_shown(machine: Machine) -> None:
    """At the end it says where everything is, with the ports of .env."""
    machine.run("deploy.sh")
    env = machine.folder / ".env"
    env.write_text(env.read_text().replace("PGADMIN_PORT=8000", 'PGADMIN_PORT="8123"'))
    done = machine.run("deploy.sh", FEEDER_PORT="18080")
    for url in ("http://127.0.0.1:18080/", "http://127.0.0.1:9000/health", "http://127.0.0.1:8123/pgadmin4/"):
        assert url in done.stdout
    assert "postgresql://mltrader@127.0.0.1:5432/btc_ml_production" in done.stdout


def test_places_go_by_other_names_too(machine: Machine) -> None:
    """A setting that .env has under its other name, in quotes or with a comment behind it, is shown as Compose reads it."""
    (machine.folder / ".env").write_text(
        "POSTGRES_DB=markets # theirs\r\nexport POSTGRES_USER='keeper'\nHEALTH_CHECK_PORT = 8081 # free\n"
        'DB_PASSWORD="a#b" # kept\nPGADMIN_PASSWORD=x\nGRAFANA_ADMIN_PASSWORD=x\nDEPLOY_TIMEOUT_S=0 # seconds\n'
    )
    done = machine.run("deploy.sh", DEPLOY_TIMEOUT_S="")
    assert done.returncode == 0, done.stderr
    assert "postgresql://keeper@127.0.0.1:5432/markets\n" in done.stdout
    assert "http://127.0.0.1:8081/\n" in done.stdout
    assert "DB_PASSWORD has 3 characters" in done.stderr


def test_services_can_be_chosen(machine: Machine) -> None:
    """Only what is named is started and waited for."""
    done = machine.run("deploy.sh", "--no-build", "feeder")
    assert done.returncode == 0, done.stderr
    assert "compose up --detach --no-build feeder" in machine.calls
    assert not [call for call in machine.calls if call.startswith("compose build")]
    assert "grafana" not in done.stdout


@pytest.mark.parametrize(
    ("call", "text", "words"),
    [
        ("version --format", "cannot connect", "Docker does not answer"),
        ("compose build", "no space left", "the image was not built"),
        ("compose run --rm --no-deps -T feeder schema init", "no", "the database was not set up"),
        ("compose run --rm --no-deps -T feeder schema check", "no", "the database is not as it should be"),
        ("compose up --detach --no-build", "port is allocated", "not everything started"),
    ],
)
def test_failures_are_said(machine: Machine, call: str, text: str, words: str) -> None:
    """Whatever fails ends it with exit code 1, with Docker's own words and what they mean."""
    machine.answer(call, text, code=1)
    done = machine.run("deploy.sh")
    assert done.returncode == 1
    assert words in done.stderr
    assert "everything is healthy" not in done.stdout


@pytest.mark.parametrize(("call", "version"), [("version --format", "19.3.1"), ("compose version --short", "v2.5.0")])
def test_old_versions_are_refused(machine: Machine, call: str, version: str) -> None:
    """What is too old to read the files is named with its version before anything is done."""
    machine.answer(call, version)
    done = machine.run("deploy.sh")
    assert done.returncode == 1
    assert f"{version} is too old" in done.stderr
    assert not (machine.folder / ".env").exists()


def test_compose_of_its_own_is_found(machine: Machine) -> None:
    """Where Docker has no compose plugin the program docker-compose is used, and where there is neither that is said."""
    machine.answer("compose version", "docker: 'compose' is not a docker command", code=1)
    (machine.fake / "answers" / "compose version --short").unlink()
    alone = machine.run("deploy.sh", PATH=machine.path.replace(":/usr/bin:/bin", f":{_tools(machine)}"))
    assert alone.returncode == 1
    assert "there is no Docker Compose" in alone.stderr
    beside = Path(machine.path.split(":")[0]) / "docker-compose"
    beside.write_text('#!/bin/sh\nexec docker standalone "$@"\n')
    beside.chmod(0o755)
    machine.answer("standalone version --short", "2.39.1")
    machine.answer("standalone config --services", "feeder")
    machine.answer("standalone ps", "0123abcd")
    assert machine.run("deploy.sh").returncode == 0
    assert "standalone up --detach --no-build feeder" in machine.calls


def _tools(machine: Machine) -> Path:
    """A folder with what the scripts use besides Docker, and nothing else."""
    folder = machine.fake / "tools"
    folder.mkdir()
    for name in ("bash", "env", "sh", "sed", "tail", "basename", "dirname", "cat", "id", "sort", "head"):
        folder.joinpath(name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return folder


def test_missing_password_is_named(machine: Machine) -> None:
    """An .env without a password is not deployed; the other name of a setting counts, a short one is warned of."""
    lines = "POSTGRES_PASSWORD=short\nPGADMIN_DEFAULT_PASSWORD=\nCONTROL_TOKEN=x\n"
    (machine.folder / ".env").write_text(lines)
    done = machine.run("deploy.sh")
    assert done.returncode == 2
    assert "not set in .env: PGADMIN_DEFAULT_PASSWORD GRAFANA_ADMIN_PASSWORD" in done.stderr
    assert "DB_PASSWORD has 5 characters" in done.stderr
    assert not [call for call in machine.calls if " up " in call]


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("'of$mine#20 characters!'", True), ("of$$mine-20-characters", True), ("${KEPT_ELSEWHERE}", True),
        ("of$mine-20-characters!", False), ('"of$mine-20-characters!"', False), ("of-mine-20-characters$", False),
    ],
)  # fmt: skip
def test_dollar_in_a_password_is_not_lost(machine: Machine, written: str, taken: bool) -> None:
    """A password that Compose would cut at its $ is refused before Compose reads it and prints what it cut; quoted it is fine."""
    (machine.folder / ".env").write_text(
        f"DB_PASSWORD={written}\nPGADMIN_PASSWORD=x\nGRAFANA_ADMIN_PASSWORD=x\nCONTROL_TOKEN=x\n"
    )
    done = machine.run("deploy.sh")
    assert done.returncode == (0 if taken else 2)
    assert ("DB_PASSWORD in .env has a $" in done.stderr) is not taken
    assert "mine" not in done.stdout + done.stderr
    assert taken or not [call for call in machine.calls if call.startswith("compose config")]


@pytest.mark.parametrize(
    ("one", "other"), [("FEEDER_PORT", "HEALTH_CHECK_PORT"), ("PGADMIN_DEFAULT_PASSWORD", "PGADMIN_PASSWORD")]
)
def test_names_of_one_setting_have_one_value(machine: Machine, one: str, other: str) -> None:
    """Neither of two values is silently left out; the same one twice is fine."""
    lines = "DB_PASSWORD=x\nPGADMIN_DEFAULT_PASSWORD=8080\nGRAFANA_ADMIN_PASSWORD=x\nFEEDER_PORT=8080\n"
    (machine.folder / ".env").write_text(f"{lines}{other}=8080\n")
    assert machine.run("deploy.sh").returncode == 0
    (machine.folder / ".env").write_text(f"{lines}{other}=8081\n")
    done = machine.run("deploy.sh")
    assert done.returncode == 2
    assert f"{one} and {other} are two names of one setting" in done.stderr
    assert "808" not in done.stderr
    assert not [call for call in machine.calls if " up " in call]


def test_time_to_wait_is_a_number(machine: Machine) -> None:
    """One that is none is named before anything starts."""
    done = machine.run("deploy.sh", DEPLOY_TIMEOUT_S="5m")
    assert done.returncode == 2
    assert "DEPLOY_TIMEOUT_S is not a number" in done.stderr
    assert not [call for call in machine.calls if " up " in call]


def test_lost_env_does_not_lock_the_database(machine: Machine) -> None:
    """With a database there but no .env no new password is made, which that database would not take."""
    machine.answer("volume ls", "candlewick_timescaledb-data")
    done = machine.run("deploy.sh")
    assert done.returncode == 2
    assert "candlewick_timescaledb-data" in done.stderr
    assert not (machine.folder / ".env").exists()


def test_impossible_setting_is_found_before_anything_starts(machine: Machine) -> None:
    """What the program says of a setting is shown, and nothing is started."""
    machine.answer(
        "compose run --rm --no-deps -T feeder config check", "candlewick: SYMBOLS='' is not possible", code=2
    )
    done = machine.run("deploy.sh")
    assert done.returncode == 2
    assert "is not possible" in done.stderr
    assert not [call for call in machine.calls if " up " in call]


@pytest.mark.parametrize("script", ["deploy.sh", "cleanup.sh"])
def test_unknown_options_are_refused(machine: Machine, script: str) -> None:
    """A misspelt option does nothing; --help explains the others."""
    done = machine.run(script, "--volume")
    assert (done.returncode, machine.calls) == (2, [])
    assert "--volume is not an option" in done.stderr
    helped = machine.run(script, "--help")
    assert helped.returncode == 0
    assert "Usage" in helped.stdout


@pytest.mark.parametrize(
    ("options", "removed"),
    [
        ((), "--remove-orphans"),
        (("--volumes",), "--remove-orphans --volumes"),
        (("--images",), "--remove-orphans --rmi all"),
        (("--volumes", "--images"), "--remove-orphans --volumes --rmi all"),
    ],
)
def test_cleanup_does_what_is_said(machine: Machine, options: tuple[str, ...], removed: str) -> None:
    """Unattended it asks nothing and deletes exactly what the options name; .env stays."""
    (machine.folder / ".env").write_text("DB_PASSWORD=x\n")
    done = machine.run("cleanup.sh", "--yes", *options)
    assert done.returncode == 0, done.stderr
    assert [call for call in machine.calls if " down " in call] == [f"compose down {removed}"]
    assert (machine.folder / ".env").exists()


@pytest.mark.parametrize(
    ("typed", "removed"),
    [
        ("yes\nno\nno\n", "--remove-orphans"),
        ("Y\nN\nn\n", "--remove-orphans"),
        ("YES\nYes\nyes\n", "--remove-orphans --volumes --rmi all"),
        ("perhaps\nyes\nof course\nno\nyes\n", "--remove-orphans --rmi all"),
        ("yes\n", "--remove-orphans"),
    ],
)
def test_cleanup_understands_words(machine: Machine, typed: str, removed: str) -> None:
    """Answers are taken as whole words or letters, in any case, and asked for again where they are neither."""
    done = machine.run("cleanup.sh", typed=typed)
    assert done.returncode == 0, done.stderr
    assert [call for call in machine.calls if " down " in call] == [f"compose down {removed}"]


@pytest.mark.parametrize("typed", ["no\n", "", "\n"])
def test_cleanup_does_nothing_unasked(machine: Machine, typed: str) -> None:
    """No, no answer and nobody there all mean that nothing is removed."""
    done = machine.run("cleanup.sh", "--volumes", typed=typed)
    assert done.returncode == 1
    assert not [call for call in machine.calls if " down " in call]


def test_scripts_have_no_known_mistakes() -> None:
    """There is nothing that shellcheck finds in any script."""
    scripts = ["deploy.sh", "cleanup.sh", "deploy/docker.sh", "deploy/check.sh", "deploy/pgadmin/register.sh"]
    done = subprocess.run(
        [tool("shellcheck"), "-x", *scripts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.stdout == ""
