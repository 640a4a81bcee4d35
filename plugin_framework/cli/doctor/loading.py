"""The other process: imports plugins, one after the other, and says what came of each.

A plugin may do anything at import: write to whatever is open, fork, end Python. So they are
imported in a process below this one, which runs no code of theirs, and ends all that they leave.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from plugin_framework.cli.info import description_of, schema_of
from plugin_framework.cli.streams import own_stdout
from plugin_framework.errors import Code, PluginLoadError
from plugin_framework.plugin.command import adopt_orphans, die_with_parent
from plugin_framework.plugin.loader import EXTENSION_GROUP, PluginRef

Wanted = dict[str, Any]


def main() -> None:
    """Take orders, a line of JSON, from stdin, whose end is ours; answer on stdout.

    Each answer is a line that begins with the orders' mark: that it has begun; one with the number
    of each plugin and what came of it; and at last how the process that imports them ended.
    """
    orders = json.loads(sys.stdin.readline())
    sys.path[:] = orders["path"]
    adopt_orphans()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # were it ignored, no end could be waited for
    with own_stdout() as write:
        say = partial(_say, write, orders["mark"])
        say({"begun": True})
        keeper = os.getpid()
        worker = os.fork()
        if worker == 0:
            _become_worker(keeper)
            _load_all(orders["wanted"], say)
            os._exit(0)
        say({"ended": _end_of(worker)})


def _say(write: Callable[[str], None], mark: str, answer: dict[str, Any]) -> None:
    # What a plugin has written there may not have ended its line.
    write(f"\n{mark}{json.dumps(answer)}")


def _become_worker(keeper: int) -> None:
    os.setsid()
    die_with_parent()
    if os.getppid() != keeper:
        os._exit(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _end_of(worker: int) -> int:
    """Wait for it, or for the end of who gave the orders; leave nothing that it started.

    The exit code, or the negative number of the signal.
    """
    select.select([0, os.pidfd_open(worker)], [], [])
    os.kill(worker, signal.SIGKILL)  # it has ended, or is to
    _, status = os.waitpid(worker, 0)
    # Whose parent is gone is our child now, and so are its children once it is gone itself.
    while left := [child for child in _children() if _kill(child)]:
        for child in left:
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(child) for child in found.read_text(encoding="ascii").split()]


def _kill(child: int) -> bool:
    """Whether it could be: what has taken another user's rights could not."""
    try:
        os.kill(child, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def _load_all(wanted: Sequence[Wanted], say: Callable[[dict[str, Any]], None]) -> None:
    worker = os.getpid()
    for number, one in enumerate(wanted):
        try:
            found = _plugin(one["ref"]) if one["kind"] == "plugin" else _extension(one["name"])
        except PluginLoadError as error:
            found = {"error": str(error), "code": error.code}
        if os.getpid() != worker:  # the import has forked, and this is the copy
            os._exit(0)
        say({"number": number, "error": None, "version": "", "description": "", **found})


def _plugin(ref: dict[str, Any]) -> dict[str, Any]:
    known = PluginRef(**ref)
    plugin = known.load()
    schema_of(known.name, plugin)
    return {
        "version": plugin.version or known.version,
        "description": description_of(plugin),
        "timeout_seconds": plugin.timeout_seconds,
        "resources": dict(plugin.resources),
    }


def _extension(name: str) -> dict[str, Any]:
    for point in entry_points(group=EXTENSION_GROUP, name=name):
        try:
            extension = point.load()
            if isinstance(extension, type):
                extension()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - theirs may raise anything
            lines = str(error).splitlines()
            reason = ": ".join([type(error).__name__, *lines[:1]])
            said = f"extension {name} cannot be loaded from {point.value}: {reason}"
            return {"error": said, "code": Code.EXTENSION_UNUSABLE}
    return {}


if __name__ == "__main__":
    main()
