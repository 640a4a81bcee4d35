"""Whether the installed plugins and extensions can be imported, found out in another process."""

from __future__ import annotations

import json
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import entry_points
from typing import IO, Any, Self

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.cli.info import import_from_here
from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.plugin.command import signal_name
from plugin_framework.plugin.loader import EXTENSION_GROUP, find_plugin, installed_plugins
from plugin_framework.settings import without_secrets

LOAD_SECONDS = 5.0
"""How long one import may take."""

_START_SECONDS = 10.0
"""How long a Python may take to start, on a busy machine."""

_END_SECONDS = 10.0
"""How long all that the plugins started may take to be ended."""

_LONGEST_LINE = 1024 * 1024
_LOADER = "plugin_framework.cli.doctor.loading"
Wanted = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Imported:
    """What a plugin's class says of itself; ``version`` is that of its distribution where not."""

    name: str
    version: str
    timeout_seconds: float | None
    resources: Mapping[str, Any]


def plugins(case: Case) -> Iterator[Told]:
    """Each plugin that is named, or else all, and all extensions."""
    wanted: list[Wanted] = []
    names = case.names or _names(case.settings.plugin)
    for found in _found(names):
        if isinstance(found, ConfigurationError):
            yield "fail", str(found), "datahub-plugin list shows what is installed", found.code
        else:
            wanted.append(found)
    if not names:
        remedy = "pip install one (entry points of the group datahub.plugins)"
        yield "warn", "no plugins are installed", remedy
    extensions = sorted({point.name for point in entry_points(group=EXTENSION_GROUP)})
    wanted += [{"kind": "extension", "name": name} for name in extensions]
    yield from (told for told, _ in _loaded(wanted, case))


def served(case: Case) -> Iterator[Imported]:
    """Those that `serve` and `worker` would take, or else all; none that cannot be imported."""
    chosen = case.settings.plugin
    names = case.names or ([chosen] if chosen else _names(None))
    wanted = [found for found in _found(names) if not isinstance(found, ConfigurationError)]
    for one, (_, answer) in zip(wanted, _loaded(wanted, case), strict=True):
        if answer is not None:
            yield Imported(
                one["ref"]["name"],
                answer["version"],
                answer["timeout_seconds"],
                answer["resources"],
            )


def _names(chosen: str | None) -> list[str]:
    """All that are installed, and what DATAHUB_PLUGIN names."""
    return list(dict.fromkeys([*installed_plugins(), *([chosen] if chosen else [])]))


def _found(names: Iterable[str]) -> Iterator[Wanted | ConfigurationError]:
    for name in names:
        try:
            import_from_here(name)
            ref = find_plugin(name)
        except ConfigurationError as error:
            yield error
        else:
            yield {"kind": "plugin", "name": name, "ref": asdict(ref)}


def _loaded(wanted: Sequence[Wanted], case: Case) -> Iterator[tuple[Told, Answer | None]]:
    """What came of importing each; where one ends the process, another goes on with the rest."""
    kept = without_secrets(case.reading.environ)
    left = list(wanted)
    while left:
        with _Loader(left, kept) as loader:
            while left and not loader.over:
                yield loader.told(left.pop(0))


class _Loader:
    """A Python that imports plugins; its environment is to hold no secret.

    It is ``over`` where no more can be told of those that are left.
    """

    def __init__(self, wanted: Sequence[Wanted], environ: Mapping[str, str]) -> None:
        self._wanted = wanted
        self._environ = environ
        # Nobody else who writes to its stdout knows this.
        self._mark = secrets.token_hex(16)
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._told = 0
        self.over = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by this Python
            [sys.executable, "-P", "-m", _LOADER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environ,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        orders = {"mark": self._mark, "path": sys.path, "wanted": self._wanted}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(orders).encode() + b"\n")
            self._process.stdin.flush()
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        self._begun = self._take(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        """Have it end what it started, and wait for that."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, stream: IO[bytes]) -> None:
        mark = self._mark.encode()
        with stream:
            for line in iter(partial(stream.readline, _LONGEST_LINE), b""):
                if line.startswith(mark):
                    self._answers.put(_answer(line.removeprefix(mark)))
        self._answers.put({"ended": None})

    def _take(self, seconds: float) -> Answer | None:
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return None

    def _next(self) -> Answer | None:
        if self._begun is None or "ended" in self._begun:
            return self._begun
        return self._take(LOAD_SECONDS)

    def told(self, one: Wanted) -> tuple[Told, Answer | None]:
        """What came of importing the next one; with its answer, if it could be."""
        answer = self._next()
        number, self._told = self._told, self._told + 1
        self.over = answer is None or answer.get("number") != number
        right = answer is not None and not self.over and not answer["error"]
        return self._in_words(one, answer), answer if right else None

    def _in_words(self, one: Wanted, answer: Answer | None) -> Told:
        title = f"{one['kind']} {one['name']}"
        if answer is None:
            remedy = "import what is slow where it is used, or see what its module waits for"
            said = f"{title}: not imported within {LOAD_SECONDS:g} s"
            return "warn", said, remedy, Code.PLUGIN_NOT_IMPORTED
        if "ended" in answer:
            remedy = "import its module by hand, with python -X faulthandler"
            said = f"{title}: its import ends Python ({self._end(answer['ended'])})"
            return "fail", said, remedy, Code.PLUGIN_NOT_IMPORTED
        if self.over:
            remedy = "see that its module writes to no file descriptor that it has not opened"
            said = f"{title}: what came of its import cannot be read"
            return "fail", said, remedy, Code.PLUGIN_NOT_IMPORTED
        return _in_words(one, title, answer)

    def _end(self, code: int | None) -> str:
        code = self._process.wait() if code is None else code
        return signal_name(-code) if code < 0 else f"exit code {code}"


def _answer(line: bytes) -> Answer:
    """What it says; nothing where others wrote into the middle of it."""
    try:
        found: Answer = json.loads(line)
    except ValueError:
        return {}
    return found


def _in_words(one: Wanted, title: str, answer: Answer) -> Told:
    if answer["error"]:
        said = answer["error"]
        remedy = "mend it, or pip uninstall the package that declares it"
        said = said if one["name"] in said else f"{title}: {said}"
        return "fail", said, remedy, Code(answer["code"])
    return "ok", f"{title} {answer['version']}".rstrip() + f": {answer['description'] or 'loads'}"


CHECKS = (Check("plugins", plugins, seconds=60.0),)
