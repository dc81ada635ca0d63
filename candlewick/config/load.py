"""Settings from their four sources, the later over the earlier: defaults, file, environment, options."""

import os
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from candlewick.config.kinds import TEXT, Kind, read_native, to_text
from candlewick.config.settings import ROWS, Row, Settings
from candlewick.errors import ConfigError, UsageError
from candlewick.exchanges.exchange import load as load_exchange

FILE_NAME = "candlewick.toml"
FILE_VARIABLE = "CANDLEWICK_CONFIG"


class Loaded(NamedTuple):
    """Settings and where each value came from, by field name."""

    settings: Settings
    origins: dict[str, str]
    path: Path | None
    """The file that was read, if any."""


class _Given(NamedTuple):
    """A value somebody wrote: under which name, where."""

    name: str
    origin: str
    value: object


def load(
    path: Path | str | None = None,
    options: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """The settings of this process.

    `path` is the file (else CANDLEWICK_CONFIG, else `candlewick.toml` in `folder`, the working directory); `options` are
    by field name, None where not given; `environment` is this process's own where None.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown, impossible or contradictory.
    """
    environment = os.environ if environment is None else environment
    found = _find(path, environment, folder or Path())
    sources = [_from_file(found) if found else {}, _from_environment(environment), _from_options(options or {})]
    values: dict[str, object] = {}
    origins = {row.field: "default" for row in ROWS}
    for source in sources:
        for field, (origin, value) in source.items():
            values[field] = value
            origins[field] = origin
    usual = default_store(environment)
    settings = Settings(**({"store": usual, "local_store": usual} | values))  # type: ignore[arg-type]
    _check_together(settings)
    return Loaded(settings, origins, found)


def default_store(environment: Mapping[str, str]) -> str:
    """The embedded store in the user's data folder."""
    home = environment.get("HOME") or str(Path.home())
    data = environment.get("XDG_DATA_HOME") or f"{home}/.local/share"
    return f"lmdb://{data}/candlewick"


def _find(path: Path | str | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    named = path or environment.get(FILE_VARIABLE)
    if not named:
        here = folder / FILE_NAME
        return here if here.is_file() else None
    if not Path(named).is_file():
        by = "--config" if path else FILE_VARIABLE
        raise ConfigError(f"{by} names {named}, which is not a file: create it, or leave {by} out")
    return Path(named)


def _from_file(path: Path) -> dict[str, tuple[str, object]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    known = {name.lower() for row in ROWS for name in row.names}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(_unknown(key, value, path, known))
    read = {}
    for row in ROWS:
        given = [
            _Given(name.lower(), str(path), content[name.lower()]) for name in row.names if name.lower() in content
        ]
        if given:
            read[row.field] = _agreed(row, [(one, _read(row, one, read_native)) for one in given])
    return read


def _unknown(key: str, value: object, path: Path, known: set[str]) -> str:
    if isinstance(value, dict):
        return f'{path}: [{key}] is a table, but settings are plain keys such as symbols = ["BTCUSDT"] at the top of the file'
    near = get_close_matches(key.lower(), known, 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else "`candlewick config show` lists every setting"
    return f"{path}: {key} is not a setting; {hint}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    read = {}
    for row in ROWS:
        # An empty variable is how compose files and shells write "not set".
        given = [
            _Given(name, f"environment ({name})", environment[name]) for name in row.names if environment.get(name)
        ]
        if given:
            read[row.field] = _agreed(row, [(one, _read(row, one, _read_text)) for one in given])
    return read


def _from_options(options: Mapping[str, str | None]) -> dict[str, tuple[str, object]]:
    rows = {row.field: row for row in ROWS}
    given = {
        field: _Given(rows[field].name, "command line", text) for field, text in options.items() if text is not None
    }
    return {field: ("command line", _read(rows[field], one, _read_text)) for field, one in given.items()}


def _read_text(kind: Kind, value: object) -> object:
    text = str(value)
    return kind.read(text if kind is TEXT else text.strip())  # a password keeps its spaces


def _read(row: Row, given: _Given, read: Callable[[Kind, object], object]) -> object:
    try:
        return read(row.about.kind, given.value)
    except (ValueError, UsageError) as error:
        shown = row.mask(to_text(given.value) if isinstance(given.value, list) else str(given.value))
        why = f" ({error})" if isinstance(error, UsageError) else ""
        where = "" if given.origin.endswith(f"({given.name})") else f" from {given.origin}"
        raise ConfigError(
            f"{given.name}={shown!r}{where} is not possible: it must be {row.about.kind.right}{why}"
        ) from None


def _agreed(row: Row, given: list[tuple[_Given, object]]) -> tuple[str, object]:
    """The one value of synonyms."""
    first, value = given[0]
    for other, its_value in given[1:]:
        if its_value != value:
            raise ConfigError(
                f"{first.name}={row.mask(str(first.value))} and {other.name}={row.mask(str(other.value))} "
                f"are the same setting with different values ({first.origin}, {other.origin}): keep one of them"
            )
    return first.origin, value


def _check_together(settings: Settings) -> None:
    """What one setting alone cannot tell."""
    venues = load_exchange(settings.exchange).venues
    if settings.market not in venues:
        raise ConfigError(f"MARKET={settings.market}: {settings.exchange} has only {', '.join(venues)}")
    known = venues[settings.market].intervals
    for interval in settings.intervals:
        if interval not in known:
            raise ConfigError(
                f"INTERVALS: {settings.exchange} {settings.market} has no {interval} candles; "
                f"it has {', '.join(map(str, known))}"
            )
    if settings.local_store.startswith("postgres"):
        raise ConfigError("LOCAL_STORE must be on this machine: lmdb:///folder or memory://")
    if settings.db_pool_min > settings.db_pool_max:
        raise ConfigError(
            f"DB_POOL_MIN={settings.db_pool_min} is more than DB_POOL_MAX={settings.db_pool_max}: lower the first or raise the second"
        )
