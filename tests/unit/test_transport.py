"""Failures of the network in words."""

import errno
import re
import socket
import ssl

import pytest

from candlewick.transport import failure_words


def certificate_error() -> OSError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused: nothing listens at host:443"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1',), [Errno 111] Connect call failed"),
            "connection refused: nothing listens at host:443",
        ),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 101] Network is unreachable"),
            r"Multiple exceptions: .*\(host:443\)",
        ),
        (OSError(errno.EMFILE, "x"), "no file descriptor left for host:443: raise this process's limit"),
        (OSError(errno.ENOBUFS, "x"), r"No buffer space available \(host:443\)"),
        (OSError(), r"OSError \(host:443\)"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the name in host:443 is not known"),
        (certificate_error(), "the certificate of host:443 is not trusted: certificate has expired"),
        (ssl.SSLError(1, "wrong version number"), "TLS with host:443 failed"),
    ],
)
def test_failure_words_say_what_failed_and_where(error: OSError, words: str) -> None:
    """Each kind of failure has its own words, and names the place."""
    assert re.match(words, failure_words(error, "host:443"))
