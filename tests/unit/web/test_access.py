"""Who may change something over HTTP."""

import pytest
from multidict import CIMultiDict

from candlewick.web.access import refusal

LOCAL = {"Host": "127.0.0.1:8080"}


@pytest.mark.parametrize(
    ("token", "remote", "headers", "code"),
    [
        # With a token, only the token counts.
        ("secret", "127.0.0.1", LOCAL, 401),
        ("secret", "10.0.0.9", {"authorization": "Bearer secret"}, None),
        ("secret", "10.0.0.9", {"Authorization": "bearer secret"}, None),
        ("secret", "10.0.0.9", {"Authorization": "Bearer Secret"}, 401),
        ("secret", "10.0.0.9", {"Authorization": "Bearer "}, 401),
        ("secret", "10.0.0.9", {"Authorization": "Basic secret"}, 401),
        ("sécret", "10.0.0.9", {"Authorization": "Bearer sécret"}, None),
        # Without one, only this machine does.
        ("", "127.0.0.1", LOCAL, None),
        ("", "127.9.9.9", {"Host": "localhost"}, None),
        ("", "::1", {"Host": "[::1]:8080"}, None),
        ("", "::ffff:127.0.0.1", LOCAL, None),
        ("", "10.0.0.9", LOCAL, 403),
        ("", "::ffff:10.0.0.9", LOCAL, 403),
        ("", None, LOCAL, 403),
        ("", "10.0.0.9", LOCAL | {"Authorization": "Bearer "}, 403),
        # A proxy on this machine speaks for somebody else.
        ("", "127.0.0.1", LOCAL | {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("", "127.0.0.1", LOCAL | {"forwarded": "for=10.0.0.9"}, 403),
        # So does a browser on a page of somebody else, even when its name was made to point here.
        ("", "127.0.0.1", LOCAL | {"Origin": "https://evil.example"}, 403),
        ("", "127.0.0.1", LOCAL | {"Origin": "null"}, 403),
        ("", "127.0.0.1", LOCAL | {"Origin": "http://127.0.0.1:8080"}, None),
        ("", "127.0.0.1", {"Host": "evil.example:8080"}, 403),
        ("", "127.0.0.1", {"Host": "[::1"}, 403),
        ("", "127.0.0.1", LOCAL | {"Origin": "http://[::1"}, 403),
        ("", "127.0.0.1", {}, 403),
    ],
)
def test_change_is_refused_to_everybody_else(
    token: str, remote: str | None, headers: dict[str, str], code: int | None
) -> None:
    """Each caller gets in, or is told 401 or 403 with words that name CONTROL_TOKEN."""
    refused = refusal(token, remote, CIMultiDict(headers))
    assert (refused and refused[0]) == code
    assert refused is None or "CONTROL_TOKEN" in refused[1]
