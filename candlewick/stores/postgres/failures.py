"""What a failure of the database means: whether the same is worth trying again, and what to do about it."""

import ssl

import asyncpg

_AGAIN = {
    "08": "the connection was lost or refused",
    "40": "it met another writer",
    "53": "it has no room for this now",
    "57": "it is shutting down, starting, or gave the statement up",
    "58": "its operating system failed it; see the server's log",
}
"""Classes of SQLSTATE that pass by themselves, or without a change on this side."""

_AGAIN_TOO = {
    "25P03": "the session did nothing inside a transaction for too long",
    "25P04": "the transaction took too long",
    "53100": "its disk is full: make room there; what waits here is written then",
    "53300": "it has no connection left: raise max_connections there, or lower DB_POOL_MAX here",
    "55006": "something is in use",
    "55P03": "somebody holds a lock for too long: see pg_stat_activity",
    "57014": "the statement took too long or was cancelled",
    "57P03": "it is starting up or shutting down",
}

_SCHEMA = "its tables are missing or of another version: run `candlewick schema init` on it"
_RIGHTS = (
    "the role of the address may not do that: give it the rights of a writer (to read, of a reader), or name another role;"
    " tables and settings of the schema are for its owner"
)
_LOGIN = "user or password is wrong, or pg_hba.conf lets nobody in from here: check the address"
_STAYS = {
    "25006": "it takes no writes: it is a standby, or its default_transaction_read_only is on; name the primary",
    "28": _LOGIN,
    "3D000": "there is no such database: create it with createdb, or name another one",
    "3F000": _SCHEMA,
    "42501": _RIGHTS,
    "42703": _SCHEMA,
    "42883": _SCHEMA,
    "42P01": _SCHEMA,
    "57P04": "the database was dropped",
    "XX001": "what it holds is damaged: see the server's log",
    "XX002": "an index of it is damaged: see the server's log, and REINDEX",
}

_GONE = (
    "connection is closed",
    "connection was closed",
    "connection has been closed",
    "pool is closing",
    "pool is closed",
)

_OURS: tuple[tuple[type[Exception], tuple[str, ...], bool, str], ...] = (
    (asyncpg.OutdatedSchemaCacheError, ("",), True, "its tables were changed meanwhile"),
    (asyncpg.InvalidCachedStatementError, ("",), True, "its tables were changed meanwhile"),
    (
        ssl.SSLCertVerificationError,
        ("",),
        False,
        "its certificate is not signed by whom sslrootcert names, or not for this host",
    ),
    (
        ConnectionError,
        ("SSL",),
        False,
        "it speaks no TLS and sslmode asks for it: turn ssl on there, or write sslmode=prefer",
    ),
    (TimeoutError, ("",), True, "no answer in time, or every connection of the pool stayed in use"),
    (OSError, ("",), True, "is it running, and is the address right?"),
    (asyncpg.InternalClientError, ("",), True, "the connection was lost in the middle of something"),
    (asyncpg.InterfaceError, _GONE, True, "the connection was lost"),
)
"""What this side raised, by kind and words; the first that fits."""


def failure(error: Exception, place: str) -> tuple[bool, str]:
    """Whether the same is worth trying again; and what failed, where, in whose words, and what to do.

    `error`: what asyncpg or the system raised.
    """
    again, advice = _judged(error)
    words = " ".join(str(error).split()) or type(error).__name__
    return again, f"the database at {place} {'does not answer' if again else 'refuses'}: {words}" + (
        f" ({advice})" if advice else ""
    )


def is_rows_fault(error: BaseException) -> bool:
    """Whether the database refuses what a row holds: a value, a constraint, or what a trigger said."""
    state = getattr(error, "sqlstate", None) or ""
    return state[:2] in {"22", "23", "44"} or state == "P0001"


def _judged(error: Exception) -> tuple[bool, str]:
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.InvalidCachedStatementError):
        return _judged_by_state(error.sqlstate or "")
    for kind, said, again, advice in _OURS:
        if isinstance(error, kind) and any(words in str(error) for words in said):
            return again, advice
    return False, ""


def _judged_by_state(state: str) -> tuple[bool, str]:
    if state in _STAYS:
        return False, _STAYS[state]
    if state in _AGAIN_TOO:
        return True, _AGAIN_TOO[state]
    if state[:2] in _AGAIN:
        return True, _AGAIN[state[:2]]
    return False, _STAYS.get(state[:2], "")
