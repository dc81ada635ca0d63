"""Whether a database has the schema it should have."""

from enum import StrEnum
from typing import NamedTuple

import asyncpg


class Status(StrEnum):
    """How something was found."""

    OK = "ok"
    MISSING = "missing"
    DIFFERENT = "different"
    NOTE = "note"


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    status: Status
    details: str


async def check(connection: asyncpg.Connection) -> list[Finding]:  # noqa: ARG001 - for now
    """Everything that should be there, and how it was found."""
    return []
