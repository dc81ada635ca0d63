"""Compiles the kernels when a wheel is built or the project is installed for editing.

Without a C compiler the package works all the same, slower; whoever builds is told.
"""

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = {
    "candlewick/stores/blocks/kernel.c": "candlewick/stores/blocks/libkernel.so",
    "candlewick/certificates/leaf_kernel.c": "candlewick/certificates/libleaf_kernel.so",
    "candlewick/exchanges/binance/archive_kernel.c": "candlewick/exchanges/binance/libarchive_kernel.so",
    "candlewick/stores/postgres/copy_kernel.c": "candlewick/stores/postgres/libcopy_kernel.so",
    "candlewick/stores/postgres/copied_kernel.c": "candlewick/stores/postgres/libcopied_kernel.so",
}
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared")
CLONES = "-DCANDLEWICK_CLONES"  # functions once more for wider processors, chosen when loaded; not every compiler can


class KernelHook(BuildHookInterface):
    """Puts each library beside its source, where an editable install finds it too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # the same for all versions
        """Compile, and make the wheel one of this platform if that went well."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        for source, library in LIBRARIES.items():
            failures = [
                failure
                for flags in ((CLONES,), ())
                if (failure := compile_kernel(root / source, root / library, flags)) is not None
            ]
            if len(failures) == 2:
                (root / library).unlink(missing_ok=True)  # one of older source would be worse than none
                self.app.display_warning(
                    f"{source} was not compiled, numpy, polars or hashlib does its work several times slower; "
                    f"install a C compiler (or name one in CC) and install again: {failures[1]}"
                )
                continue
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform()}"
            build_data["artifacts"].append(library)


def compile_kernel(source: Path, library: Path, flags: tuple[str, ...]) -> str | None:
    """Compile a library; what the compiler said if it could not, else None. A library in use is replaced whole."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*compiler, *FLAGS, *flags, str(source), "-o", str(made), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # CC is the builder's own
        except OSError as error:
            return str(error)
        if done.returncode:
            return done.stderr.strip() or f"{compiler[0]} ended with {done.returncode}"
        made.replace(library)
    return None


def platform() -> str:
    """This platform as a wheel's name says it."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
