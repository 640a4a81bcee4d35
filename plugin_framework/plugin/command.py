"""``ctx.run``: a child process that ends when its task does."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plugin_framework.errors import PluginError, TaskCancelled

if TYPE_CHECKING:
    from plugin_framework.plugin.context import Gate

PATIENCE_SECONDS = 5.0
"""From SIGTERM to SIGKILL for a command whose task was cancelled."""

_STDERR = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Looked up before any fork: between fork and exec only plain system calls are safe.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that happens (Linux)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Have descendants whose parent dies become children of this process (Linux)."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_command(
    argv: list[str],
    gate: Gate,
    *,
    check: bool,
    options: dict[str, Any],
    trace: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end, or until the gate says that the task is cancelled.

    It gets the ``trace`` in its environment, unless the one that is given has another.
    """
    given = options.pop("input", None)
    if options.pop("capture_output", False):
        options["stdout"] = options["stderr"] = subprocess.PIPE
    if given is not None:
        options["stdin"] = subprocess.PIPE
    options.setdefault("stdin", subprocess.DEVNULL)
    # What a supervisor prints on its own stdout is its outcome alone.
    options.setdefault("stdout", _STDERR)
    if trace:
        given_env = options.get("env")
        named = {name.upper(): value for name, value in trace.items()}
        options["env"] = {**os.environ, **named} if given_env is None else {**named, **given_env}
    try:
        process = subprocess.Popen(  # noqa: S603 - running the author's command is the purpose
            argv,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prepared system call
            process_group=0,
            **options,
        )
    except OSError as error:
        raise PluginError(f"cannot run {argv[0]}: {error.strerror}") from None
    with process, gate.on_cancel(lambda: _signal_group(process, signal.SIGTERM)):
        try:
            output, errors = _communicate(process, gate, given)
        finally:
            _signal_group(process, signal.SIGKILL)
    if gate.cancelled:
        raise TaskCancelled(f"{argv[0]} was ended because the task was cancelled")
    if check and process.returncode:
        raise PluginError(_failure(argv[0], process.returncode, errors))
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def signal_name(number: int) -> str:
    """``SIGTERM`` and the like; real-time signals have but a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _communicate(
    process: subprocess.Popen[Any], gate: Gate, given: str | bytes | None
) -> tuple[Any, Any]:
    while True:
        try:
            return process.communicate(given, timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            given = None
            if gate.cancelled:
                _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[Any], number: int) -> None:
    # The group may outlive its leader: its other members must go as well.
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _failure(command: str, code: int, errors: str | bytes | None) -> str:
    text = errors.decode(errors="replace") if isinstance(errors, bytes) else errors or ""
    last = text.strip().splitlines()[-1:] or [""]
    how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"
    return f"{command} {how}{': ' if last[0] else ''}{last[0][:300]}"
