"""Under which licences users get what is installed with the framework, extras included.

``python -m release.licences`` prints them, and fails if one is not allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions

from license_expression import (  # type: ignore[import-untyped]  # it has no hints
    AND,
    OR,
    ExpressionError,
    get_spdx_licensing,
)

from release.pins import EXTRAS, Pin, read

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "PSF-2.0",
    }
)
# A licence that asks for more, and why that is no burden for who uses or ships the framework.
ALLOWED_FOR = {
    ("certifi", "MPL-2.0"): "covers its own files only, which are used as they are",
    ("psycopg", "LGPL-3.0-only"): "in an extra, imported as it is, and replaceable by its user",
    ("psycopg-binary", "LGPL-3.0-only"): "as psycopg, whose compiled part it is",
}
# What older metadata says instead of an SPDX expression. "BSD" is two or three clauses: both may
# be used alike.
NAMES = {
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "New BSD": "BSD-3-Clause",
}
# Needed elsewhere only, so that no metadata is at hand: read where it is.
ELSEWHERE = {
    "async-timeout": "Apache-2.0",  # before Python 3.11.3
    "colorama": "BSD-3-Clause",  # on Windows
    "tzdata": "Apache-2.0",  # on Windows
}
SPDX = get_spdx_licensing()


def licence(pin: Pin, path: Iterable[str] | None = None) -> str:
    """What the installed package says, as an SPDX expression; or in its own words, or nothing.

    ``path`` are the folders to look in, instead of this interpreter's.
    """
    found = _installed(pin.name, sys.path if path is None else path)
    if found is None:
        return "" if pin.applies else ELSEWHERE.get(pin.name, "")
    return _said(found, "License-Expression") or _older(found)


def refusal(pin: Pin, path: Iterable[str] | None = None) -> str | None:
    """Why this package must not be installed with the framework; None if it may."""
    said = licence(pin, path)
    if not said:
        return f"{pin.name} {pin.version}: no licence"
    if not _allowed(pin.name, said):
        return f"{pin.name} {pin.version}: {said} is not allowed"
    return None


def _installed(name: str, path: Iterable[str]) -> Distribution | None:
    return next(iter(distributions(name=name, path=list(path))), None)


def _older(found: Distribution) -> str:
    names = list(_classified(found)) or [_said(found, "License")]
    known = sorted({NAMES.get(name, name) for name in names})
    return known[0] if len(known) == 1 else " AND ".join(f"({name})" for name in known)


def _said(found: Distribution, field: str) -> str:
    return next(iter(found.metadata.get_all(field) or ()), "")


def _classified(found: Distribution) -> Iterator[str]:
    for classifier in found.metadata.get_all("Classifier") or ():
        kind, _, name = classifier.rpartition(" :: ")
        if kind.startswith("License"):
            yield name


def _allowed(name: str, expression: str) -> bool:
    try:
        return _permits(name, SPDX.parse(expression, validate=True))
    except ExpressionError:
        return False


def _permits(name: str, term: object) -> bool:
    if isinstance(term, OR):
        return any(_permits(name, part) for part in term.args)
    if isinstance(term, AND):
        return all(_permits(name, part) for part in term.args)
    return str(term) in PERMISSIVE or (name, str(term)) in ALLOWED_FOR


def main() -> int:
    """Print the licence of each package; 1 if one is refused."""
    pins = read(EXTRAS)
    for pin in pins:
        print(f"{pin.name} {pin.version}: {licence(pin) or 'no licence'}")
    refused = [reason for pin in pins if (reason := refusal(pin))]
    print(*refused, sep="\n", file=sys.stderr, end="\n" if refused else "")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
