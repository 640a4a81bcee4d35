"""Whether the installed plugins and extensions can be imported, found out in another process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import IO, Any, Self

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.cli.info import import_from_here
from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.plugin.loader import EXTENSION_GROUP, find_plugin, installed_plugins
from plugin_framework.settings import secret_variables

LOAD_SECONDS = 5.0
"""How long one import may take."""

_START_SECONDS = 10.0
"""How long a Python may take to start, on a busy machine."""

_LOADER = "plugin_framework.cli.doctor.loading"
Wanted = dict[str, Any]


def plugins(case: Case) -> Iterator[Told]:
    """Each plugin that is named, or else all, and all extensions."""
    wanted: list[Wanted] = []
    names = case.names or _names(case.settings.plugin)
    for name in names:
        try:
            import_from_here(name)
            ref = find_plugin(name)
        except ConfigurationError as error:
            yield "fail", str(error), "datahub-plugin list shows what is installed", error.code
        else:
            wanted.append({"kind": "plugin", "name": name, "ref": asdict(ref)})
    if not names:
        remedy = "pip install one (entry points of the group datahub.plugins)"
        yield "warn", "no plugins are installed", remedy
    extensions = sorted({point.name for point in entry_points(group=EXTENSION_GROUP)})
    wanted += [{"kind": "extension", "name": name} for name in extensions]
    secrets = secret_variables()
    kept = {
        name: text for name, text in case.reading.environ.items() if name.upper() not in secrets
    }
    yield from _loaded(wanted, kept)


def _names(chosen: str | None) -> list[str]:
    """All that are installed, and what DATAHUB_PLUGIN names."""
    return list(dict.fromkeys([*installed_plugins(), *([chosen] if chosen else [])]))


def _loaded(wanted: Sequence[Wanted], environ: Mapping[str, str]) -> Iterator[Told]:
    """What came of importing each; where one ends the process, another goes on with the rest."""
    left = list(wanted)
    while left:
        with _Loader(left, environ) as loader:
            while left:
                one = left.pop(0)
                told = loader.told(one)
                yield told
                if loader.over:
                    break


class _Loader:
    """A Python that imports plugins; its environment is to hold no secret."""

    def __init__(self, wanted: Sequence[Wanted], environ: Mapping[str, str]) -> None:
        self._wanted = wanted
        self._environ = environ
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.over = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by this Python
            [sys.executable, "-P", "-m", _LOADER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environ,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process.stdin as orders:
            orders.write(json.dumps({"path": sys.path, "wanted": self._wanted}))
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        self._begun = self._take(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def _take(self, seconds: float) -> str | None:
        """The next line, "" at the end, or None where there is none in time."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if not line:
            self._lines.put(line)  # the end is the end, however often it is asked for
        return line

    def told(self, one: Wanted) -> Told:
        """What came of importing one."""
        title = f"{one['kind']} {one['name']}"
        line = self._take(LOAD_SECONDS) if self._begun is not None else None
        if line is None:
            self.over = True
            remedy = "import what is slow where it is used, or see what its module waits for"
            said = f"{title}: not imported within {LOAD_SECONDS:g} s"
            return "warn", said, remedy, Code.PLUGIN_NOT_IMPORTED
        if not line:
            self.over = True
            remedy = "import its module by hand, with python -X faulthandler"
            said = f"{title}: its import ends Python ({self._end()})"
            return "fail", said, remedy, Code.PLUGIN_NOT_IMPORTED
        found = json.loads(line)
        if found["error"]:
            said = found["error"]
            remedy = "mend it, or pip uninstall the package that declares it"
            said = said if one["name"] in said else f"{title}: {said}"
            return "fail", said, remedy, Code(found["code"])
        return "ok", f"{title} {found['version']}".rstrip() + f": {found['description'] or 'loads'}"

    def _end(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


CHECKS = (Check("plugins", plugins, seconds=60.0),)
