"""What this machine and this installation have."""

from __future__ import annotations

import platform
import resource
import sqlite3
import ssl
from collections.abc import Iterator
from importlib.metadata import version

import pycurl

from plugin_framework._version import __version__
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told

ENOUGH_FILES = 1024
"""Open files that a plugin with a handful of transfers stays well below."""

_LIBRARIES = ("httpx", "pydantic", "pluggy", "apscheduler")


def open_files(_case: Case) -> Iterator[Told]:
    """How many files may be open at once; `serve` raises the limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{_limit(soft)} at once, up to {_limit(hard)} where a process asks for more"
    if 0 <= hard < ENOUGH_FILES:
        remedy = f"raise the limit to {ENOUGH_FILES} or more: ulimit -n, LimitNOFILE= or --ulimit"
        yield "warn", said, remedy
    else:
        yield "ok", said


def _limit(number: int) -> str:
    return "any number" if number < 0 else str(number)


def versions(_case: Case) -> Iterator[Told]:
    """What a report of a fault should name."""
    yield (
        "ok",
        (
            f"plugin_framework {__version__}, Python {platform.python_version()},"
            f" {platform.system()} {platform.release()} {platform.machine()}"
        ),
    )
    # Its first words are libcurl, what it does TLS by, and more that is of no use here.
    libcurl = " ".join(
        word for word in pycurl.version.split() if word.startswith(("libcurl", "Open"))
    )
    yield (
        "ok",
        f"{libcurl} (transfers), {ssl.OPENSSL_VERSION} (calls), SQLite {sqlite3.sqlite_version}",
    )
    yield "ok", ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


CHECKS = (Check("files", open_files), Check("versions", versions))
