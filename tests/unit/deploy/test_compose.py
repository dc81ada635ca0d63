"""docker-compose.yml and .env.example: what starts when, what is reached from where, and that every value has an effect."""

import re
from pathlib import Path
from typing import Any

import pytest

from candlewick.config import ROWS
from tests.unit.deploy.composed import ROOT, SECRETS, composed

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
SCRIPTS = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("deploy.sh", "cleanup.sh", "deploy/docker.sh"))

SERVICES = ("timescaledb", "feeder", "gap-handler", "pgadmin", "prometheus", "grafana")
DECIDED = {
    "STORE": "the feeder's local store lies in its volume",
    "LOCAL_STORE": "likewise",
    "HTTP_HOST": "a container is reached from outside of it",
    "FEEDER_PORT": "the port on the host; within, Prometheus and the health check know 8080",
    "HEALTH_CHECK_PORT": "likewise",
    "GAP_HANDLER_PORT": "likewise, 9000",
}
"""Settings that a container has fixed, and why."""
ELSEWHERE = {
    "POSTGRES_HOST_AUTH_METHOD", "PGADMIN_PORT", "PGADMIN_DEFAULT_EMAIL", "PGADMIN_DEFAULT_PASSWORD", "PGADMIN_PASSWORD",
    "NETWORK_NAME",
}  # fmt: skip
"""Settings of other services than ours."""


def assigned(text: str) -> dict[str, str]:
    """The variables that an env file sets."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def bracketed(text: str) -> set[str]:
    """The other names that its comments give."""
    return {name for group in re.findall(r"\[([A-Z_, ]+)\]", text) for name in group.split(", ")}


def used(text: str) -> set[str]:
    """The variables that a compose file reads."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document with passwords alone."""
    return composed(tmp_path_factory.mktemp("env"))


def test_services_are_named_as_documented(plain: dict[str, Any]) -> None:
    """All services are there under the containers' names and in the network that operators know."""
    assert set(plain["services"]) == set(SERVICES)
    names = {name: one["container_name"] for name, one in plain["services"].items()}
    assert names == {name: f"btc-ml-{name}" for name in SERVICES}
    assert plain["networks"]["internal"]["name"] == "btc-ml-network"


def test_order_of_start_goes_by_health(plain: dict[str, Any]) -> None:
    """The feeder waits for a healthy database, the gap handler for a healthy feeder, pgAdmin for the database."""
    waits = {
        name: {other: how["condition"] for other, how in one.get("depends_on", {}).items()}
        for name, one in plain["services"].items()
    }
    healthy = "service_healthy"
    assert waits["feeder"] == {"timescaledb": healthy}
    assert waits["gap-handler"] == {"timescaledb": healthy, "feeder": healthy}
    assert waits["pgadmin"] == {"timescaledb": healthy}


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_watched_restarted_and_logged_in_bounds(service: str, plain: dict[str, Any]) -> None:
    """Each has a health check every 10 s, comes back after a crash, and keeps at most ten log files of 100 MB."""
    one = plain["services"][service]
    check = one["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == ("10s", "5s", 5)
    assert one["restart"] == "unless-stopped"
    assert one["logging"] == {"driver": "json-file", "options": {"max-size": "100m", "max-file": "10"}}
    assert "curl" not in " ".join(check["test"])


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback(service: str, plain: dict[str, Any]) -> None:
    """Nothing is reached from other machines unless that is asked for."""
    ports = plain["services"][service]["ports"]
    assert ports
    assert {one["host_ip"] for one in ports} == {"127.0.0.1"}


def test_ports_differ_and_can_be_chosen(tmp_path: Path, plain: dict[str, Any]) -> None:
    """The documented ports are the defaults, no two are the same, and each variable moves its own."""
    ports = {name: int(one["ports"][0]["published"]) for name, one in plain["services"].items()}
    assert ports == {
        "timescaledb": 5432, "feeder": 8080, "gap-handler": 9000, "pgadmin": 8000, "prometheus": 9090, "grafana": 3000,
    }  # fmt: skip
    variables = {f"{name.upper().replace('-', '_')}_PORT": str(port + 1) for name, port in ports.items()}
    moved = composed(tmp_path, BIND_ADDRESS="0.0.0.0", **variables)["services"]
    assert {name: int(one["ports"][0]["published"]) for name, one in moved.items()} == {
        name: port + 1 for name, port in ports.items()
    }
    assert {one["ports"][0]["host_ip"] for one in moved.values()} == {"0.0.0.0"}


@pytest.mark.parametrize("service", ["feeder", "gap-handler"])
def test_every_setting_reaches_the_services(service: str, tmp_path: Path) -> None:
    """Whatever is set in .env under any of its names is what the program is given: nothing is fixed in between."""
    names = [name for row in ROWS for name in row.names if name not in DECIDED and name not in ELSEWHERE]
    values = {name: f"value-of-{name}" for name in names}
    given = composed(tmp_path, **values)["services"][service]["environment"]
    assert {name: given.get(name) for name in names} == values


def test_service_is_given_nothing_that_is_no_setting(plain: dict[str, Any]) -> None:
    """Passwords of other services stay with those, and no name is misspelt."""
    known = {name for row in ROWS for name in row.names} - ELSEWHERE
    for service in ("feeder", "gap-handler"):
        assert set(plain["services"][service]["environment"]) <= known


def test_unset_values_are_the_programs_own(plain: dict[str, Any]) -> None:
    """Without a value in .env a service is given none, but for the four that only a container knows better."""
    given = {name: value for name, value in plain["services"]["feeder"]["environment"].items() if value}
    assert given == {
        "DB_HOST": "timescaledb",
        "DB_PASSWORD": SECRETS["DB_PASSWORD"],
        "GAP_HANDLER_URL": "http://gap-handler:9000/backfill",
        "HISTORICAL_BACKFILL_ENABLED": "true",
    }


def test_delegation_can_be_switched_off(tmp_path: Path) -> None:
    """An empty GAP_HANDLER_URL in .env stays empty."""
    assert composed(tmp_path, GAP_HANDLER_URL="")["services"]["feeder"]["environment"]["GAP_HANDLER_URL"] == ""


def test_database_pgadmin_and_services_share_one_account(tmp_path: Path) -> None:
    """Name, user and password of the database are given once, under either name, and are the same everywhere."""
    for names in (("DB_NAME", "DB_USER", "DB_PASSWORD"), ("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")):
        values = dict(zip(names, ("markets", "keeper", "s" * 24), strict=True))
        services = composed(tmp_path, **({"DB_PASSWORD": ""} | values))["services"]
        server = services["timescaledb"]["environment"]
        assert (server["POSTGRES_DB"], server["POSTGRES_USER"], server["POSTGRES_PASSWORD"]) == tuple(values.values())
        pgadmin = services["pgadmin"]["environment"]
        assert tuple(pgadmin[name] for name in ("DB_NAME", "DB_USER", "DB_PASSWORD")) == tuple(values.values())
        assert "-ccron.database_name=markets" in services["timescaledb"]["command"]


def test_server_runs_with_the_documented_flags(plain: dict[str, Any]) -> None:
    """TimescaleDB is loaded, 200 connections and 256 MB of buffers are there."""
    command = plain["services"]["timescaledb"]["command"]
    assert command[0] == "postgres"
    assert {"-cshared_preload_libraries=timescaledb", "-cmax_connections=200", "-cshared_buffers=256MB"} <= set(command)


@pytest.mark.parametrize("service", ["feeder", "gap-handler"])
def test_our_containers_can_do_little(service: str, plain: dict[str, Any]) -> None:
    """They run without capabilities, cannot gain any, write only where their data is, and can be stopped while they start."""
    one = plain["services"][service]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["read_only"] is True
    assert one["init"] is True


def test_passwords_are_asked_for(tmp_path: Path) -> None:
    """No password has a default: without one the file is refused."""
    for name in SECRETS:
        with pytest.raises(AssertionError, match=f"set {name}"):
            composed(tmp_path, **{name: ""})


def test_example_sets_what_is_read() -> None:
    """Each variable of .env.example is read by docker-compose.yml or by the scripts."""
    unread = set(assigned(EXAMPLE)) - used(COMPOSE)
    assert [name for name in unread if not re.search(rf"\b{name}\b", SCRIPTS)] == []
    assert bracketed(EXAMPLE) <= used(COMPOSE)


def test_example_names_every_variable() -> None:
    """Each variable that docker-compose.yml reads, and each setting that a container has not fixed, is in .env.example."""
    known = set(assigned(EXAMPLE)) | bracketed(EXAMPLE)
    assert used(COMPOSE) <= known
    assert {name for row in ROWS for name in row.names} - set(DECIDED) <= known


def test_example_holds_no_secret() -> None:
    """Secrets are empty in .env.example, so that nobody runs with one that everybody knows."""
    secret = {row.name for row in ROWS if row.about.secret} | set(SECRETS)
    assert {name: value for name, value in assigned(EXAMPLE).items() if name in secret and value} == {}


def test_example_gives_the_defaults() -> None:
    """Where .env.example shows a value of a setting it is the program's default, or one that this deployment explains."""
    own = {"GAP_HANDLER_URL": "http://gap-handler:9000/backfill", "HISTORICAL_BACKFILL_ENABLED": "true"}
    shown = {name: value for name, value in assigned(EXAMPLE).items() if value}
    defaults = {row.name: row.default_text for row in ROWS}
    assert {name: value for name, value in shown.items() if name in defaults and value != defaults[name]} == own


def test_env_is_kept_out() -> None:
    """.env goes neither into the repository nor into an image."""
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!") and "env" in line]
