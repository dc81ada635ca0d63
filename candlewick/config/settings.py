"""Every setting, as a row of data: its name, type, default, kind and meaning stand together, once.

Reading, `candlewick config`, docs/configuration.md and the checks at start are all made from these rows.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from candlewick.config.kinds import (
    FLAG,
    HISTORY_START,
    INTERVALS,
    PORT,
    STORE,
    SYMBOLS,
    TEXT,
    WORD,
    HistoryStart,
    Kind,
    number,
    one_of,
    optional,
    some_of,
    to_text,
    url,
    whole,
)
from candlewick.errors import ConfigError
from candlewick.exchanges.exchange import StreamKind, Venue, load
from candlewick.market import DAY, Interval, Market


class LogLevel(StrEnum):
    """The least important log lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class SslMode(StrEnum):
    """Whether a connection to the database is encrypted, as PostgreSQL's own clients name it."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class About(NamedTuple):
    """What a row says of its setting, besides name, type and default."""

    section: str
    kind: Kind
    meaning: str
    aliases: tuple[str, ...] = ()
    secret: bool = False
    default: str = ""
    """What docs show for a default that is found out at start."""
    purpose: str = ""
    """`for ...`: the capability that reads it, where `candlewick run` does not."""


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a run. Field names are the variables' names in lower case."""

    exchange: Annotated[str, About("Market", WORD, "The exchange; one folder of candlewick/exchanges.")] = "binance"
    market: Annotated[Market, About("Market", one_of(Market), "Which market of the exchange.")] = Market.SPOT
    symbols: Annotated[
        tuple[str, ...],
        About(
            "Market", SYMBOLS, "Symbols to follow; a pattern such as `*USDT` is matched against what trades now.",
            aliases=("TRADING_SYMBOL", "BINANCE_SYMBOL"),
        ),
    ] = ("BTCUSDT",)  # fmt: skip
    intervals: Annotated[
        tuple[Interval, ...],
        About("Market", INTERVALS, "Candle intervals of every symbol.", aliases=("CANDLE_INTERVAL",)),
    ] = (Interval("1m"),)
    streams: Annotated[
        tuple[StreamKind, ...], About("Market", some_of(StreamKind), "Kinds of live streams of every symbol.")
    ] = (StreamKind.KLINE, StreamKind.BOOK_TICKER)
    binance_stream_url: Annotated[
        str,
        About(
            "Market", url("wss", "ws"), "Base URL of the live streams; a trailing `/ws` is dropped.",
            default="by market",
        ),
    ] = ""  # fmt: skip
    binance_api_url: Annotated[
        str, About("Market", url("https", "http"), "Base URL of REST.", default="by market")
    ] = ""  # fmt: skip
    binance_api_key: Annotated[
        str, About("Market", TEXT, "Not needed: everything read is public.", secret=True, purpose="for nothing yet")
    ] = ""
    binance_api_secret: Annotated[
        str, About("Market", TEXT, "Not needed: everything read is public.", secret=True, purpose="for nothing yet")
    ] = ""

    store: Annotated[
        str,
        About(
            "Store",
            STORE,
            "Where candles are kept; a shared database is fed from LOCAL_STORE.",
            default="`lmdb://` and the user's data folder",
        ),
    ] = ""
    local_store: Annotated[
        str,
        About(
            "Store", STORE, "Where `run` and `feeder` keep what they receive before a shared database has it, when STORE is one.",
            default="`lmdb://` and the user's data folder",
        ),
    ] = ""  # fmt: skip
    history_start: Annotated[
        HistoryStart,
        About("Store", HISTORY_START, "How far back `run` fills a series that is new to the store."),
    ] = HistoryStart("2d", before_now=2 * DAY)

    gap_detection_threshold: Annotated[
        float,
        About(
            "Live and repair", number(5), "Seconds after which a close that did not come is fetched by REST.",
            aliases=("GAP_DETECTION_THRESHOLD_S",),
        ),
    ] = 70.0  # fmt: skip
    backfill_check_interval_s: Annotated[
        float, About("Live and repair", number(5), "Seconds between scans of the store for gaps.")
    ] = 300.0
    websocket_reconnect_interval_s: Annotated[
        float | None,
        About(
            "Live and repair", optional(number(0.1, 60)), "Seconds before the first attempt to connect again; later ones wait longer.",
            default="unset: 1, then 2, 4, 8 ... with jitter",
        ),
    ] = None  # fmt: skip
    rate_limit_weight_per_minute: Annotated[
        int,
        About("Live and repair", whole(20), "Request weight that REST may use in a minute; the exchange's own limit is kept besides."),
    ] = 1200  # fmt: skip
    rate_limit_requests_per_sec: Annotated[
        float,
        About("Live and repair", number(0.1, 100), "REST requests in a second.", aliases=("REQUESTS_PER_SECOND",)),
    ] = 10.0
    burst_size: Annotated[
        int, About("Live and repair", whole(1, 100), "REST requests that may go out at once after a pause.")
    ] = 10
    max_concurrent_backfills: Annotated[
        int, About("Live and repair", whole(1, 100), "Series that are repaired at the same time.")
    ] = 5
    backfill_timeout_seconds: Annotated[
        float, About("Live and repair", number(1), "Seconds after which one backfill gives up, to be tried again.",
                     purpose="for the gap handler"),
    ] = 300.0  # fmt: skip
    backfill_batch_size: Annotated[
        int, About("Live and repair", whole(1, 1500), "Candles asked for and written at once by a backfill.",
                   purpose="for the gap handler"),
    ] = 1000  # fmt: skip

    http_host: Annotated[
        str, About("Web", WORD, "Where health, metrics and web listen; 0.0.0.0 for every interface.")
    ] = "127.0.0.1"  # fmt: skip
    feeder_port: Annotated[
        int,
        About("Web", PORT, "The port of health, metrics and web; 0 takes a free one.", aliases=("HEALTH_CHECK_PORT",)),
    ] = 8080
    control_token: Annotated[
        str,
        About(
            "Web", TEXT, "Bearer token of every call that changes something; without it they are taken from loopback only.",
            secret=True, default="none",
        ),
    ] = ""  # fmt: skip
    log_level: Annotated[
        LogLevel, About("Web", one_of(LogLevel), "The least important log lines that are written.")
    ] = LogLevel.INFO
    environment: Annotated[str, About("Web", WORD, "A word that `/status` repeats, to tell installations apart.")] = (
        "production"
    )

    binance_archive_url: Annotated[
        str, About("History", url("https", "http"), "The public archive.", purpose="for history")
    ] = "https://data.binance.vision"
    binance_archive_list_url: Annotated[
        str, About("History", url("https", "http"), "The archive's listing.", purpose="for history")
    ] = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    archive_downloads: Annotated[
        int, About("History", whole(1, 64), "Requests to the archive under way at once.", purpose="for history")
    ] = 8
    monthly_threshold_months: Annotated[
        int,
        About(
            "History", whole(1, 24),
            "How many months after a calendar month began its monthly file is expected; until then its daily files are "
            "asked for, unless the listing shows it.", purpose="for history",
        ),
    ] = 2  # fmt: skip
    historical_backfill_enabled: Annotated[
        bool, About("History", FLAG, "Whether history is filled at start.", purpose="for the gap handler")
    ] = False
    historical_retention_months: Annotated[
        int, About("History", whole(1, 1200), "How many months of history are filled.", purpose="for the gap handler")
    ] = 13
    historical_chunk_days: Annotated[
        int, About("History", whole(1, 366), "Days of history asked for at a time.", purpose="for the gap handler")
    ] = 7

    db_host: Annotated[str, About("SQL store", WORD, "The database's host.")] = "timescaledb"
    db_port: Annotated[
        int, About("SQL store", whole(1, 65535), "The database's port.")
    ] = 5432  # fmt: skip
    db_name: Annotated[str, About("SQL store", WORD, "The database.", aliases=("POSTGRES_DB",))] = "btc_ml_production"
    db_user: Annotated[str, About("SQL store", WORD, "Who connects.", aliases=("POSTGRES_USER",))] = "mltrader"
    db_password: Annotated[
        str,
        About(
            "SQL store", TEXT, "The password of that user.", aliases=("POSTGRES_PASSWORD",), secret=True,
            default="none",
        ),
    ] = ""  # fmt: skip
    db_pool_min: Annotated[int, About("SQL store", whole(0, 100), "Connections that stay open.")] = 2
    db_pool_max: Annotated[int, About("SQL store", whole(1, 100), "Connections at most.")] = 5
    db_idle_timeout: Annotated[
        float, About("SQL store", number(1), "Seconds after which an idle connection is closed.")
    ] = 60.0  # fmt: skip
    db_max_conns: Annotated[
        int, About("SQL store", whole(1, 100), "Connections of the gap handler at most.", purpose="for the gap handler")
    ] = 2
    db_sslmode: Annotated[
        SslMode, About("SQL store", one_of(SslMode), "Whether the connection is encrypted, and what is checked then.")
    ] = SslMode.PREFER
    db_sslrootcert: Annotated[
        str, About("SQL store", TEXT, "A file of certificates of authorities to trust.", default="none")
    ] = ""
    candles_retention_months: Annotated[
        int, About("SQL store", whole(0, 1200), "Months of candles that the database keeps; 0 keeps all.")
    ] = 13
    predictions_retention_months: Annotated[
        int, About("SQL store", whole(0, 1200), "Months of predictions that it keeps; 0 keeps all.")
    ] = 3
    features_retention_months: Annotated[
        int, About("SQL store", whole(0, 1200), "Months of features that it keeps; 0 keeps all.")
    ] = 1
    quality_log_retention_months: Annotated[
        int, About("SQL store", whole(0, 1200), "Months of resolved rows of `data_quality_logs` that it keeps; 0 keeps all.")
    ] = 0  # fmt: skip
    compress_after_days: Annotated[
        int, About("SQL store", whole(0, 3650), "Days after which TimescaleDB compresses candles; 0 never does.")
    ] = 7
    batch_size: Annotated[
        int,
        About(
            "SQL store", whole(1, 10_000), "So many candles that wait go to the database at once, however busy it is."
        ),
    ] = 10
    batch_timeout_ms: Annotated[
        int, About("SQL store", whole(1, 60_000), "Milliseconds that fewer wait for others at most; a database that is idle is written at once.")
    ] = 1000  # fmt: skip
    postgres_host_auth_method: Annotated[
        str, About("SQL store", WORD, "How the database's container checks passwords.", purpose="for deployment")
    ] = "scram-sha-256"

    gap_handler_port: Annotated[
        int, About("Services", PORT, "The port of the gap handler.", purpose="for the gap handler")
    ] = 9000
    gap_handler_url: Annotated[
        str,
        About(
            "Services", url("http", "https"),
            "Where a feeder has gaps repaired first, such as http://gap-handler:9000/backfill; empty: it repairs them itself.",
            default="none",
        ),
    ] = ""  # fmt: skip
    feature_update_interval: Annotated[
        float,
        About(
            "Services", number(1), "Seconds between updates of the feature cache.",
            aliases=("FEATURE_CACHE_INTERVAL_S",), purpose="for features",
        ),
    ] = 60.0  # fmt: skip
    redis_url: Annotated[
        str, About("Services", url("redis", "rediss", "unix"), "The Redis server.", purpose="for Redis")
    ] = "redis://localhost:6379"
    validation_service_url: Annotated[
        str, About("Services", url("http", "https"), "Where the collector has candles checked.", purpose="for the collector")
    ] = "http://data-validation:8000"  # fmt: skip
    pgadmin_port: Annotated[int, About("Services", PORT, "The port of pgAdmin.", purpose="for deployment")] = 8000
    pgadmin_default_email: Annotated[
        str, About("Services", WORD, "Who signs in to pgAdmin.", purpose="for deployment")
    ] = "admin@example.com"
    pgadmin_default_password: Annotated[
        str,
        About(
            "Services", TEXT, "The password of pgAdmin.", aliases=("PGADMIN_PASSWORD",), secret=True,
            purpose="for deployment", default="none",
        ),
    ] = ""  # fmt: skip
    network_name: Annotated[
        str, About("Services", WORD, "The network that containers share.", purpose="for deployment")
    ] = "btc-ml-network"

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.field}={row.shown(self)}" for row in ROWS)
        return f"Settings({shown})"

    @property
    def venue(self) -> Venue:
        """The market of the exchange that is followed; raises ConfigError when there is no such exchange or market."""
        venues = load(self.exchange).venues
        if self.market not in venues:
            raise ConfigError(f"MARKET={self.market} is not one of {self.exchange}'s: it has {', '.join(venues)}")
        return venues[self.market]

    @property
    def stream_url(self) -> str:
        """Base URL of the live streams."""
        return self.binance_stream_url or self.venue.stream_url

    @property
    def record(self) -> str:
        """The store that this machine's processes write: STORE, or LOCAL_STORE where that is a shared database."""
        return self.local_store if self.is_shared else self.store

    @property
    def is_shared(self) -> bool:
        """Whether STORE is a shared database."""
        return self.store.startswith(("postgresql://", "postgres://"))

    @property
    def reading_url(self) -> str:
        """The store that is read: STORE; where that is a shared database, with what DB_SSLMODE says of the way there."""
        return self.database_url if self.is_shared else self.store

    @property
    def database_url(self) -> str:
        """The shared database: STORE where that is one, else what DB_HOST and the others name.

        Raises:
            ConfigError: no password is given.
        """
        tls = {"sslmode": self.db_sslmode.value} | ({"sslrootcert": self.db_sslrootcert} if self.db_sslrootcert else {})
        if self.is_shared:
            given = dict(parse_qsl(urlsplit(self.store).query))
            return urlunsplit(urlsplit(self.store)._replace(query=urlencode(tls | given)))
        if not self.db_password:
            raise ConfigError(
                "DB_PASSWORD is not set: give the password of DB_USER, or name the database with STORE=postgresql://..."
            )
        who = f"{quote(self.db_user, safe='')}:{quote(self.db_password, safe='')}"
        return f"postgresql://{who}@{self.db_host}:{self.db_port}/{quote(self.db_name, safe='')}?{urlencode(tls)}"

    @property
    def api_url(self) -> str:
        """Base URL of REST."""
        return self.binance_api_url or self.venue.api_url


class Row(NamedTuple):
    """One setting."""

    field: str
    default: object
    about: About

    @property
    def name(self) -> str:
        """The canonical name: that of the environment variable."""
        return self.field.upper()

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical name and its synonyms."""
        return (self.name, *self.about.aliases)

    @property
    def default_text(self) -> str:
        """The default, as documents show it."""
        return self.about.default or to_text(self.default)

    def shown(self, settings: Settings) -> str:
        """The value as anybody may see it: secrets masked."""
        return self.mask(to_text(getattr(settings, self.field)))

    def mask(self, text: str) -> str:
        """Text of this setting, as anybody may see it."""
        if self.about.secret:
            return "***" if text else ""
        if re.search(r":.*@", text) and "://" not in text:
            return "***@" + text.rpartition("@")[2]  # an address that lost a slash still has its password
        return masked(re.sub(r"(://[^:/@?#]*):.*@", r"\1:***@", text))


def masked(text: str) -> str:
    """Text without the passwords of the addresses in it."""
    text = re.sub(r"(://[^:/@?#\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|token|secret|api_key|apikey|key)=)[^&#]*", r"\1***", text, flags=re.IGNORECASE)


def _rows() -> tuple[Row, ...]:
    hints: dict[str, Any] = get_type_hints(Settings, include_extras=True)
    plain = Settings()
    return tuple(
        Row(field, getattr(plain, field), hints[field].__metadata__[0]) for field in Settings.__struct_fields__
    )


ROWS = _rows()
