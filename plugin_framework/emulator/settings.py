"""What a local Datahub is told when it starts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.buckets import BucketAddress
from plugin_framework.emulator.rules import Refused
from plugin_framework.errors import ConfigurationError

LOST_SECONDS: Final = 120.0
"""Four heartbeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """``port`` 0 takes a free one; ``url_lifetime`` and ``lost_after`` are in seconds.

    Attributes:
        allow_wildcard: whether ``host`` may stand for all addresses of this machine.
        public_url: where plugins reach it, if not at ``host`` and ``port``: presigned URLs are
            made of it.
        credentials: of the plugins, which sign with them as we do; without, nobody signs.
        storage: ``s3://bucket/prefix``, a real store in place of ours, at ``endpoint``.
        chaos: the faults to begin with, as ``Chaos.as_json`` has them.
        services: URLs of plugin services to register.
        whole: whether the page, and what drives services, is there from the start; else it is
            made when it is first asked for.
    """

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    allow_wildcard: bool = False
    public_url: str | None = None
    credentials: Credentials | None = None
    url_lifetime: int = 3600
    dialect: str = "s3"
    storage: str | None = None
    endpoint: str | None = None
    chaos: Mapping[str, Any] | None = None
    services: tuple[str, ...] = ()
    lost_after: float = LOST_SECONDS
    whole: bool = True

    @property
    def bucket(self) -> BucketAddress | None:
        """Where files go, if not to ``state_dir``.

        Raises:
            ConfigurationError: ``storage`` and ``endpoint`` name no bucket.
        """
        if self.storage is None:
            return None
        return BucketAddress.of(self.storage, self.endpoint, self.dialect)

    def as_line(self) -> str:
        """One line of JSON, secrets and all: for a pipe to a process of ours."""
        return json.dumps(asdict(self) | {"state_dir": str(self.state_dir)}) + "\n"

    @classmethod
    def of_line(cls, line: str) -> Self:
        """Read what ``as_line`` wrote."""
        given = json.loads(line)
        credentials = given["credentials"]
        given["credentials"] = None if credentials is None else Credentials(**credentials)
        given["state_dir"] = Path(given["state_dir"])
        given["services"] = tuple(given["services"])
        return cls(**given)


def check_services(services: Iterable[str]) -> None:
    """See that services can be registered at these URLs.

    Raises:
        ConfigurationError: with a line for each where none can be.
    """
    problems = [problem for url in services if (problem := _problem(url))]
    if problems:
        raise ConfigurationError(problems)


def _problem(url: str) -> str | None:
    from plugin_framework.emulator.platform.addresses import (  # noqa: PLC0415 - loads an HTTP client
        service_address,
    )

    try:
        service_address(url, allow_remote=False)
    except Refused as refused:
        # What stands before an @ is a password, and a query may hold a secret.
        shown = re.sub("//[^/]*@", "//...@", url.partition("?")[0])
        return f"--service {' '.join(shown.split())}: {refused.message}"
    return None
