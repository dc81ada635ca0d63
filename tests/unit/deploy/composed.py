"""docker-compose.yml as Compose itself understands it; no engine is needed for that."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SECRETS = {"DB_PASSWORD": "d" * 24, "PGADMIN_DEFAULT_PASSWORD": "p" * 24, "GRAFANA_ADMIN_PASSWORD": "g" * 24}


def tool(name: str) -> str:
    """A program that comes with the development tools where its platform has it; skips the test elsewhere."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install '.[dev]' where its platform has a wheel")
    return found


def composed(folder: Path, **values: str) -> dict[str, Any]:
    """The document with these values in its `.env`, and nothing of this process's environment."""
    file = folder / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in (SECRETS | values).items()), encoding="utf-8")
    done = subprocess.run(
        [tool("docker-compose"), "--project-directory", ROOT, "--env-file", file, "config", "--format", "json"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
