"""Compiles the store's kernel when a wheel is built or the project is installed for editing.

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

SOURCE = "candlewick/stores/blocks/kernel.c"
LIBRARY = "candlewick/stores/blocks/libkernel.so"
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared")
CLONES = "-DCANDLEWICK_CLONES"  # functions once more for wider processors, chosen when loaded; not every compiler can


class KernelHook(BuildHookInterface):
    """Puts the library beside its source, where an editable install finds it too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # the same for all versions
        """Compile, and make the wheel one of this platform if that went well."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        failures = [failure for flags in ((CLONES,), ()) if (failure := compile_kernel(root, flags)) is not None]
        if len(failures) == 2:
            (root / LIBRARY).unlink(missing_ok=True)  # one of older source would be worse than none
            self.app.display_warning(
                "the store's kernel was not compiled, numpy does its work several times slower; "
                f"install a C compiler (or name one in CC) and install again: {failures[1]}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform()}"
        build_data["artifacts"].append(LIBRARY)


def compile_kernel(root: Path, flags: tuple[str, ...]) -> str | None:
    """Compile the library; what the compiler said if it could not, else None. A library in use is replaced whole."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    with tempfile.TemporaryDirectory(dir=(root / LIBRARY).parent) as folder:
        made = Path(folder) / "libkernel.so"
        command = [*compiler, *FLAGS, *flags, str(root / SOURCE), "-o", str(made), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # CC is the builder's own
        except OSError as error:
            return str(error)
        if done.returncode:
            return done.stderr.strip() or f"{compiler[0]} ended with {done.returncode}"
        made.replace(root / LIBRARY)
    return None


def platform() -> str:
    """This platform as a wheel's name says it."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
