"""Log lines: one JSON object each, to stderr, whoever writes them."""

import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from candlewick.config import LogLevel

LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}


class JsonFormatter(logging.Formatter):
    """`timestamp`, `level`, `message`, then whatever the line carries in `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without its end."""
        written = getattr(record, "written_at", None) or datetime.fromtimestamp(record.created, UTC).isoformat()
        line: dict[str, Any] = {
            "timestamp": written.replace("+00:00", "Z"),
            "level": _NAMES.get(record.levelno, record.levelname),
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what anybody who connects could fill the log with: requests that are not HTTP, each with its traceback."""
    error = record.exc_info[0] if record.exc_info else None
    return error is None or not error.__module__.startswith("aiohttp.http_exceptions")


def start_logging(level: LogLevel, stream: IO[str] | None = None) -> logging.Logger:
    """Send every log line of this process, libraries' too, to `stream` (stderr); returns Candlewick's own logger."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_is_worth_a_line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # Its pool warns, with a traceback, of every attempt to connect to a database that is down: outputs and stores tell that.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
    own = logging.getLogger("candlewick")
    own.setLevel(LEVELS[level])
    return own
