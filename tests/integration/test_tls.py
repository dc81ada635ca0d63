"""Encrypted connections to the shared database, as DB_SSLMODE and DB_SSLROOTCERT say."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from candlewick.config import Settings
from candlewick.config.settings import SslMode
from candlewick.errors import StoreError
from candlewick.stores.postgres.connection import Database
from tests.servers.postgres import DEBIAN, PostgresServer


def _certificate(folder: Path, name: str) -> Path:
    """A certificate of 127.0.0.1, signed by itself, beside its key."""
    path = folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """A folder with the certificate that the server shows, and another one."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for one in ("server", "other"):
            _certificate(folder, one)
        (folder / "server.key").chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(folder / "server.key", "nobody", "nogroup")
        yield folder


@pytest.fixture
def encrypted_url(postgres_servers: Callable[[Path | None], PostgresServer], certificates: Path) -> Iterator[str]:
    """A database of a server that speaks TLS; the build that comes with Python cannot."""
    server = postgres_servers(DEBIAN)
    server.revive()
    for setting, file in (("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")):
        server.execute(f"ALTER SYSTEM SET {setting} = '{certificates / file}'")
    server.execute("ALTER SYSTEM SET ssl = on")
    server.restart()
    url = server.new_database()
    yield url
    server.drop_database(url)
    server.execute("ALTER SYSTEM RESET ALL")
    server.restart()


def _is_encrypted(url: str, mode: SslMode, root: Path | None = None) -> bool:
    """Whether a connection with these settings is."""
    settings = Settings(store=url, db_sslmode=mode, db_sslrootcert=str(root or ""))

    async def ask() -> bool:
        database = await Database.open(settings.database_url, application="test")
        try:
            async with database.acquire() as connection:
                return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
        finally:
            await database.close()

    return asyncio.run(ask())


def test_connection_is_encrypted_as_the_settings_say(encrypted_url: str) -> None:
    """`disable` is plain; every other mode is encrypted with a server that can, `prefer` being the default."""
    assert not _is_encrypted(encrypted_url, SslMode.DISABLE)
    assert Settings().db_sslmode is SslMode.PREFER
    for mode in (SslMode.PREFER, SslMode.REQUIRE):
        assert _is_encrypted(encrypted_url, mode)


@pytest.mark.parametrize("mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_certificate_is_held_against_the_authorities_that_are_trusted(
    encrypted_url: str, certificates: Path, mode: SslMode
) -> None:
    """A server whose certificate DB_SSLROOTCERT signs is believed; any other is refused, in words that say why."""
    assert _is_encrypted(encrypted_url, mode, certificates / "server.crt")
    with pytest.raises(StoreError, match="certificate"):
        _is_encrypted(encrypted_url, mode, certificates / "other.crt")


def test_server_without_tls_is_refused_where_tls_is_demanded(database_url: str) -> None:
    """`require` never falls back to plain text."""
    assert not _is_encrypted(database_url, SslMode.PREFER)
    with pytest.raises(StoreError, match=r"TLS|SSL"):
        _is_encrypted(database_url, SslMode.REQUIRE)
