"""Where the framework was installed from: a project's image and CI are to get the same."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

from plugin_framework._version import __version__

_DISTRIBUTION = "datahub-plugin-framework"
_SOMEWHERE = "path/to/datahub-plugin-framework"


def source() -> str:
    """What pip is to be given for it: a path, an address, or a requirement."""
    origin = _origin()
    url = str(origin.get("url", ""))
    if url.startswith("file://"):
        return shlex.quote(_path_of(url))
    if vcs := origin.get("vcs_info"):
        return shlex.quote(f"{vcs['vcs']}+{url}@{vcs['commit_id']}")
    return shlex.quote(url or f"{_DISTRIBUTION}=={__version__}")


def shown_source() -> str:
    """As ``source``, for others' eyes: a path of this machine says nothing to them."""
    local = str(_origin().get("url", "")).startswith("file://")
    return _SOMEWHERE if local else source()


def _origin() -> dict[str, Any]:
    """What the installer has recorded of it; nothing for what came from a package registry."""
    try:
        recorded = distribution(_DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    origin: dict[str, Any] = json.loads(recorded or "{}")
    return origin


def _path_of(url: str) -> str:
    return unquote(urlsplit(url).path)
