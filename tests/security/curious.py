"""A plugin that looks wherever it can for what is not its own, and fails in many ways."""

from __future__ import annotations

import base64
import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext
from plugin_framework.isolation.session import LINE_LIMIT
from tests.isolation.hostile import _occurs

PART = 5 * 1024 * 1024
FORMS = (
    "GET https://h/o?filename*=UTF-8''d.csv&Signature=SECRET",
    "\"GET /o?filename*=UTF-8''d.csv&Signature=SECRET HTTP/1.1\" 200",
    "https://u:a/SECRET@h/",
    "https://u:SECRET?x@h/",
    "amqp://u:'SECRET@h",
    r'{"url":"https:\/\/h\/p?token=SECRET"}',
    "https%3A%2F%2Fh%2Fp%3FX-Amz-Signature%3DSECRET",
    "https://h/p#access_token=SECRET",
)
"""How other libraries and plugins may log a secret."""


class Curious(DatahubPlugin):
    """Writes down what it can see, then does as it is told."""

    class Config(PluginConfig):
        do: str = "complete"
        looked_for: tuple[str, ...] = ()
        """Texts to look for in memory, turned around: they must not be there by being asked for."""
        url: str = ""
        """One to fail with, in base64: it is of the plugin's own, and no secret of ours."""

    def process(self, ctx: TaskContext[Config]) -> dict[str, Any]:
        ctx.log.debug("in %s", os.getpid())
        seen = {
            "environments": {
                str(pid): _read(pid, "environ") for pid in (os.getpid(), os.getppid())
            },
            "arguments": {pid.name: _read(pid.name, "cmdline") for pid in _family()},
            "of a command": ctx.run(["env"], capture_output=True, text=True).stdout,
            "context": repr(ctx) + repr(vars(ctx)) + repr(ctx.config.do),
            "found in memory": [
                sum(_occurs(pid, text.encode()) for pid in (os.getpid(), os.getppid()))
                for text in ctx.config.looked_for
            ],
        }
        (ctx.output_dir / "small").write_bytes(b"small")
        source = ctx.download()
        with (ctx.work_dir / "big").open("wb") as big:
            big.write(source.read_bytes())
            big.truncate(2 * PART + 1)
        ctx.upload(ctx.work_dir / "big", "big.bin")
        if ctx.config.do == "raise":
            self._fail(base64.b64decode(ctx.config.url).decode())
        if ctx.config.do == "crash":
            ctypes.string_at(0)
        return {"total_counts": 1, "seen": seen}

    def _fail(self, url: str) -> None:
        secret = url.rpartition("=")[2]
        for form in FORMS:
            sys.stdout.write(form.replace("SECRET", secret) + "\n")
            logging.getLogger("client").error("%s", form.replace("SECRET", secret))
        sys.stdout.write(f"{'x' * (LINE_LIMIT - 10)} {url}\n")
        raise ValueError(f"cannot fetch {url}", {"url": url}) from OSError(f"GET {url} failed")


class Spy(DatahubPlugin):
    """Tries what a process of the same user may try on its supervisor."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        supervisor = _parent_of(os.getppid())
        return {name: _try(supervisor, name) for name in ("environ", "mem", "maps", "fd", "status")}


def _try(pid: int, name: str) -> str:
    try:
        if name == "fd":
            return f"open: {Path(f'/proc/{pid}/fd/0').readlink()}"
        with Path(f"/proc/{pid}/{name}").open("rb", 0) as file:
            return "open" if name == "mem" else f"open: {len(file.read(4096))}"
    except OSError as error:
        return str(error.strerror)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _family() -> Iterator[Path]:
    """This process and those above it."""
    pid = os.getpid()
    while pid > 1:
        yield Path(f"/proc/{pid}")
        pid = _parent_of(pid)


def _read(pid: int | str, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
