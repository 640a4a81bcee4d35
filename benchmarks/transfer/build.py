"""The programs in C, built on the spot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
PROGRAMS = {"store": ("-lssl", "-lcrypto"), "limit": ("-lssl", "-lcrypto"), "delay": ()}
FLAGS = ("-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
HEADER = "#include <openssl/ssl.h>\n"


class CannotBuildError(Exception):
    """A tool is missing; the message says how to mend that."""


def build(folder: Path) -> None:
    """Build all programs into ``folder``.

    Raises:
        CannotBuildError: there is no compiler, or no OpenSSL to build with.
    """
    for name, libraries in PROGRAMS.items():
        sources = [SOURCES / f"{name}.c"]
        sources += [SOURCES / "stream.c"] if libraries else []
        command = [compiler(), *FLAGS, "-o", str(folder / name), *map(str, sources), *libraries]
        subprocess.run(command, check=True)


def compiler() -> str:
    """The C compiler, which finds OpenSSL's headers.

    Raises:
        CannotBuildError: see ``build``.
    """
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        raise CannotBuildError("no C compiler: apt-get install gcc libc6-dev libssl-dev")
    look = [found, "-E", "-x", "c", "-o", "/dev/null", "-"]
    if subprocess.run(look, input=HEADER, text=True, capture_output=True, check=False).returncode:
        raise CannotBuildError("no headers of OpenSSL: apt-get install libssl-dev")
    return found
