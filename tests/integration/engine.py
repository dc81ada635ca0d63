"""A Docker engine of its own for tests, and what it builds images on where no registry is reached."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "docker"
BASE = "python:3.11-slim-bookworm"
BASE_AGE_DAYS = 30
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Engine:
    """A running engine; `environment` lets `docker` and `docker-compose` find it."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            # The builder that needs nothing but the engine: neither plugins nor images of a registry.
            "DOCKER_BUILDKIT": "0",
        }

    def docker(self, *words: str, within_s: float = 60.0) -> str:
        """What a docker command prints; fails the test when it fails."""
        done = self.attempt("docker", *words, within_s=within_s)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout.strip()

    def attempt(
        self, *words: str, within_s: float = 60.0, folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command with this engine, whatever comes of it."""
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=within_s, cwd=folder, stdin=subprocess.DEVNULL,
            env=self.environment | environment,
        )  # fmt: skip

    def build(self, tag: str, folder: Path, *options: str) -> None:
        """An image of the Dockerfile in a folder."""
        self.docker("build", "--network=host", "--tag", tag, *options, str(folder), within_s=900)


@contextmanager
def engine_in(folder: Path) -> Iterator[Engine]:
    """An engine that keeps everything in `folder` and is gone afterwards; skips where none can be started."""
    missing = [name for name in ("dockerd", "docker", "debootstrap", "docker-compose") if not _program(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install docker.io debootstrap)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a Docker engine")
    if Path("/var/run/docker.sock").exists():
        pytest.skip("a Docker engine runs here, and two of them disturb each other's networks")
    engine = Engine(folder)
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--bridge=none", "--data-root", folder / "data", "--exec-root", folder / "exec",
             "--pidfile", folder / "pid", "--host", engine.environment["DOCKER_HOST"]],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=engine.environment, start_new_session=True,
        )  # fmt: skip
    try:
        _await(engine, process, folder / "dockerd.log")
        yield engine
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder / "data", ignore_errors=True)


def import_base(engine: Engine) -> None:
    """Give the engine an image by the name of the one that the Dockerfile asks for, made of Debian's packages."""
    archive = CACHE / "base.tar"
    if not archive.is_file() or time.time() - archive.stat().st_mtime > BASE_AGE_DAYS * 86_400:  # noqa: TID251  # the age of a file
        _make_base(archive)
    engine.docker("import", "--change", f"ENV PIP_CERT={CERTIFICATES}", str(archive), BASE, within_s=300)


def _make_base(archive: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    tree = CACHE / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    words = [
        "debootstrap",
        "--variant=minbase",
        "--include=python3,python3-venv,ca-certificates",
        "bookworm",
        str(tree),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode != 0:
        pytest.skip(f"debootstrap made no base image: {done.stdout[-500:]}{done.stderr[-500:]}")
    # The build downloads packages: it has to trust whom this machine trusts.
    shutil.copy(CERTIFICATES, tree / CERTIFICATES.relative_to("/"))
    (tree / "usr/bin/python").symlink_to("python3")
    subprocess.run(["tar", "-C", tree, "-cf", archive.with_suffix(".new"), "."], check=True)
    archive.with_suffix(".new").replace(archive)
    shutil.rmtree(tree)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin")


def _await(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while engine.attempt("docker", "version").returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"no Docker engine can be started here: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.2)
