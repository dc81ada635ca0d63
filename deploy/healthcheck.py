"""The health check of a container: exit code 0 when the service in it says that it works.

Asks `/health` of the feeder and of the gap handler, of which one runs in a container. Anything but 200 is not healthy;
a service that is degraded answers 200, because it is mending itself and a restart would only interrupt it.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

PORTS = {"FEEDER_PORT": 8080, "GAP_HANDLER_PORT": 9000}
TIMEOUT_S = 4.0


def say(port: int) -> str | None:
    """What is wrong with the service at a port; None if nothing is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        body = answer.read(2_000).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        return f"port {port}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"port {port}: {answer.status} {body}"


def main() -> int:
    """The exit code; what is wrong goes to stdout, where `docker inspect` shows it."""
    wrong = []
    for name, default in PORTS.items():
        found = say(int(os.environ.get(name) or default))
        if found is None:
            return 0
        wrong.append(found)
    print(*wrong, sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
