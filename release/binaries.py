"""What is compiled in the packages that are installed with the framework, extras included.

The framework runs no program of others: transfers, signing and storage are its own Python. Some
packages have extension modules, libraries that Python loads. No package may have a program.
"""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Iterator
from importlib.metadata import Distribution, PackagePath
from pathlib import Path

LIBRARY = re.compile(r"\.(so(\.[0-9]+)*|pyd|dylib|dll)$")
COMPILED = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"!<arch>", b"\x00asm")
INTERPRETER = 3  # the type of a program header that names who loads and starts the file

# Packages with extension modules, and why they are there. Another one needs a reason, too.
EXTENSIONS = {
    "cffi": "how cryptography is called",
    "cryptography": "encrypts credentials on their way to workers; holds OpenSSL",
    "httptools": "parses HTTP for the service",
    "psycopg-binary": "PostgreSQL's client library, and what it is linked with",
    "pycurl": "moves bytes; holds libcurl and what it is linked with: TLS, HTTP/2, compression",
    "pydantic-core": "checks what comes from outside",
    "watchfiles": "tells dev which files have changed",
    "wcwidth": "its tables of character widths, for celery's command",
    "xxhash": "fingerprints parts of files",
}


def libraries(found: Distribution) -> list[str]:
    """The extension modules and shared libraries of a package."""
    return [str(file) for file, path in _files(found) if _compiled(path) and not _program(path)]


def programs(found: Distribution) -> list[str]:
    """What could be run and is not Python: a compiled program, or a script of another language."""
    return [
        str(file)
        for file, path in _files(found)
        if (_program(path) if _compiled(path) else _is_command(file) and not _is_python(path))
    ]


def _files(found: Distribution) -> Iterator[tuple[PackagePath, Path]]:
    for file in found.files or ():
        path = Path(str(file.locate()))
        if path.is_file():
            yield file, path


def _compiled(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(COMPILED)


def _program(path: Path) -> bool:
    """Whether a compiled file is not, or not only, for Python to load."""
    return not LIBRARY.search(path.name) or _starts_by_itself(path.read_bytes())


def _starts_by_itself(data: bytes) -> bool:
    if not data.startswith(b"\x7fELF\x02\x01"):  # of 64 bits, little-endian
        return False
    (offset,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    headers = (struct.unpack_from("<I", data, offset + size * number) for number in range(count))
    return (INTERPRETER,) in headers


def _is_command(file: PackagePath) -> bool:
    return file.parts[0] == ".." and file.parent.name in {"bin", "Scripts"}


def _is_python(path: Path) -> bool:
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return True
