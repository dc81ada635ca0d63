"""How pgAdmin is served: below the path SCRIPT_NAME, with the root leading there.

Takes the place of the image's file of this name. gunicorn itself answers 500 to whatever is not below SCRIPT_NAME;
here the root redirects to it, other paths are 404.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import gunicorn

gunicorn.SERVER_SOFTWARE = "Python"

Environ = dict[str, Any]
Start = Callable[..., Any]
App = Callable[[Environ, Start], Iterable[bytes]]

PREFIX = os.environ.pop("SCRIPT_NAME", "").rstrip("/")


def below(prefix: str, app: App) -> App:
    """The application, below a path."""

    def answer(environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == prefix or path.startswith(f"{prefix}/"):
            return app({**environ, "SCRIPT_NAME": prefix, "PATH_INFO": path[len(prefix) :] or "/"}, start)
        if path in {"", "/"}:
            start("302 Found", [("Location", f"{prefix}/"), ("Content-Length", "0")])
            return []
        start("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        return [b"not found\n"]

    return answer


def post_worker_init(worker: Any) -> None:  # noqa: ANN401  # gunicorn calls it by this name, with its own worker
    """Put the application below the path, once it is loaded."""
    if PREFIX:
        worker.wsgi = below(PREFIX, worker.wsgi)
