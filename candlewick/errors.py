"""The one tree of errors.

::

    CandlewickError
    ├── ConfigError            a setting is unknown, impossible or contradictory      (exit code 2)
    ├── UsageError             a command or call was given something it cannot take   (exit code 2)
    │   └── UnknownSymbol      the exchange does not list it
    ├── StoreError             the store cannot do what was asked
    │   ├── StoreBusy          another process writes it
    │   ├── StoreFull          no space left where it lives
    │   ├── StoreDown          it does not answer now: refused, reset, shutting down, timed out
    │   ├── StoreTooNew        written by a newer format version
    │   └── StoreDamaged       what it holds contradicts itself
    ├── OutputError            an output cannot do what was asked
    │   └── OutputDown         it does not answer now; the same may be asked again
    ├── ExchangeError          the exchange, or the way to it, failed
    │   ├── Unreachable        no answer: refused, reset, timed out, name not found
    │   ├── Banned             418, 403 or 451: nothing may be asked before `until`
    │   ├── RateLimited        429: wait for `retry_after`
    │   ├── ServerTrouble      5xx, or an answer that is not what was documented
    │   └── Refused            4xx with the exchange's own code and words
    └── DecodeError            a frame or a body that is not what it should be

Every message says what failed, where, and what to do. Drivers' own errors are wrapped where the driver is called.
"""


class CandlewickError(Exception):
    """Root of every error raised on purpose."""


class ConfigError(CandlewickError):
    """A setting is unknown, impossible or contradictory; names the key, the value and what would be right."""


class UsageError(CandlewickError):
    """A command or a call was given something it cannot take."""


class UnknownSymbol(UsageError):
    """The exchange does not list this symbol, or does not trade it now."""


class StoreError(CandlewickError):
    """The store cannot do what was asked."""


class StoreBusy(StoreError):
    """Another process is writing this store."""


class StoreFull(StoreError):
    """The file system has no space left; nothing that was acknowledged is lost."""


class StoreDown(StoreError):
    """The database does not answer now; the same may be asked again later."""


class StoreTooNew(StoreError):
    """The store was written by a newer format version than this program reads."""


class StoreDamaged(StoreError):
    """What the store holds contradicts itself."""


class OutputError(CandlewickError):
    """An output cannot do what was asked, and will not by waiting: its schema, its rights, its settings."""


class OutputDown(OutputError):
    """An output does not answer now; nothing is known of what was under way, and the same may be asked again."""


class ExchangeError(CandlewickError):
    """The exchange, or the way to it, failed."""


class Unreachable(ExchangeError):
    """No answer came: refused, reset, timed out, or the name is not known."""


class RateLimited(ExchangeError):
    """HTTP 429. `retry_after` is in seconds, as the exchange asked."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Banned(ExchangeError):
    """HTTP 418, 403 or 451. Nothing may be asked before `until`, in microseconds UTC."""

    def __init__(self, message: str, until: int) -> None:
        super().__init__(message)
        self.until = until


class ServerTrouble(ExchangeError):
    """HTTP 5xx, or an answer that is not what the exchange documents (HTML, cut JSON)."""


class NotFound(ServerTrouble):
    """HTTP 404 without the exchange's own code: nothing is served at this address under that name."""


class Refused(ExchangeError):
    """HTTP 4xx with the exchange's own `code` and words; asking again the same way will not help."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class DecodeError(CandlewickError):
    """A frame or a body that is not what it should be; the raw text travels beside it."""
