"""Runs the hooks of one task, in order, wherever that is."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, Self

import pluggy
from pydantic import ValidationError

from plugin_framework import errors
from plugin_framework.errors import (
    Code,
    ConfigurationError,
    InvalidResultError,
    PluginError,
    Problem,
    TaskCancelled,
    TaskError,
    problem_of,
)
from plugin_framework.plugin.async_hooks import AsyncHooks
from plugin_framework.plugin.base import (
    DatahubPlugin,
    TaskResult,
    checked_json,
    parse_config,
    result_json,
)
from plugin_framework.plugin.context import Gate, Host, TaskContext, TaskFacts, UploadedFile
from plugin_framework.plugin.manager import hooks_of, task_manager
from plugin_framework.protocol.models import TaskStatus

_OUR_FOLDERS = tuple(str(Path(package).parent) for package in (errors.__file__, pluggy.__file__))

STATE_LIMIT = 1024 * 1024
"""Bytes of JSON that saved state may take."""

LINE_LIMIT = 64 * 1024
"""Characters of one error message or log line."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the author's code ended.

    ``result`` is the JSON object it returned; ``error`` is one line on what it raised, with its
    code if it is a ``Problem``.
    """

    kind: Literal["returned", "failed", "cancelled"]
    result: dict[str, Any] | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields; not by ``asdict``, which goes no deeper than half as far as JSON may."""
        code = self.error.code if isinstance(self.error, Problem) else None
        return {"kind": self.kind, "result": self.result, "error": self.error, "code": code}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The ending that ``as_json`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        error, code = given["error"], given["code"]
        if code is not None:
            error = Problem(error, Code(code))
        return cls(given["kind"], given["result"], error)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the supervisor made of an ending; it is in the journal."""

    status: int
    error: str | None = None


class TaskHost(Host, Protocol):
    """A context's host that also takes the ending."""

    def ended(self, ending: Ending) -> Verdict:
        """The author's code has ended; upload what it left, and settle the outcome."""


def run_hooks(
    plugin: type[DatahubPlugin],
    facts: TaskFacts,
    *,
    host: TaskHost,
    gate: Gate,
    log: logging.Logger,
    extensions: Mapping[str, object],
) -> None:
    """Run one task's hooks to their end. Whatever they raise becomes its ending."""
    async_hooks = AsyncHooks(gate)
    try:
        try:
            manager = task_manager(plugin(), extensions, async_hooks)
            config = parse_config(plugin, facts.config)
            ctx = TaskContext(facts, config, host=CheckedHost(host), gate=gate, log=log)
            ctx._hooks = frozenset(hooks_of(plugin))  # noqa: SLF001 - for extensions of ours
        except BaseException as error:  # noqa: BLE001 - it becomes the ending
            host.ended(_failed(error, log))
            return
        _run(manager.hook, ctx, host=host, gate=gate, async_hooks=async_hooks)
    finally:
        async_hooks.close()


def run_payment(
    plugin: type[DatahubPlugin],
    tx_hash: str,
    subtask_id: str,
    *,
    log: logging.Logger,
    extensions: Mapping[str, object],
) -> Ending:
    """Call ``on_payment``; the result of the ending is ``{"accepted": bool}``."""
    async_hooks = AsyncHooks(Gate())
    try:
        hook = task_manager(plugin(), extensions, async_hooks).hook
        accepted = hook.on_payment(tx_hash=tx_hash, subtask_id=subtask_id)
        return Ending("returned", result={"accepted": bool(accepted)})
    except BaseException as error:  # noqa: BLE001 - it becomes the ending
        return _failed(error, log)
    finally:
        async_hooks.close()


def describe(error: BaseException) -> str:
    """One line on an error: its message alone where it is meant for people."""
    try:
        text = _problems_in(error) if isinstance(error, ValidationError) else str(error)
    except Exception:  # noqa: BLE001 - the author's own __str__
        text = ""
    text = " ".join(text[:LINE_LIMIT].encode(errors="replace").decode().split())
    if isinstance(error, TaskError | ConfigurationError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _problems_in(error: ValidationError) -> str:
    """What is wrong with a model of the author's, a result above all; never its values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join([error.title, *map(str, each['loc'])])}: {each['msg']}" for each in found
    )


def _run(
    hook: pluggy.HookRelay,
    ctx: TaskContext[Any],
    *,
    host: TaskHost,
    gate: Gate,
    async_hooks: AsyncHooks,
) -> None:
    def pause_hook(status: TaskStatus) -> None:
        (hook.on_pause if status is TaskStatus.PAUSED else hook.on_resume)(ctx=ctx)

    ctx._pause_hook = pause_hook  # noqa: SLF001 - the context is made before its hooks
    ending, returned, error = _work(hook, ctx)
    async_hooks.work_is_over = True
    cleaned = ending.kind == "cancelled" and not gate.failing
    if cleaned:
        _after(ctx.log, lambda: hook.on_cancel(ctx=ctx))
    status = TaskStatus.RUNNING  # should the ending not be kept, nothing has been decided
    try:
        verdict = host.ended(ending)
        status = TaskStatus(verdict.status)
        if status is TaskStatus.COMPLETED:
            _after(ctx.log, lambda: hook.on_success(ctx=ctx, result=returned))
        elif status is TaskStatus.FAILED:
            failure = error or PluginError(verdict.error or "the task failed")
            _after(ctx.log, lambda: hook.on_failure(ctx=ctx, error=failure))
        elif not cleaned:
            _after(ctx.log, lambda: hook.on_cancel(ctx=ctx))
    finally:
        _after(ctx.log, lambda: hook.on_finish(ctx=ctx, status=status))


def _work(
    hook: pluggy.HookRelay, ctx: TaskContext[Any]
) -> tuple[Ending, Any, BaseException | None]:
    own = os.getpid()
    try:
        hook.on_start(ctx=ctx)
        ctx.checkpoint()
        returned = hook.process(ctx=ctx)
        if os.getpid() != own:
            _leave_fork(None)
        returned = TaskResult() if returned is None else returned
        return Ending("returned", result=result_json(returned)), returned, None
    except BaseException as error:  # noqa: BLE001 - it becomes the ending
        if os.getpid() != own:
            _leave_fork(error)
        if ctx.cancelled and _is_cancel(error):
            return Ending("cancelled"), None, None
        return _failed(error, ctx.log), None, error


def _leave_fork(error: BaseException | None) -> NoReturn:
    """End a child that the author's code has forked and that came back here: it is not the task."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _is_cancel(error: BaseException) -> bool:
    """Whether it is a cancel, perhaps in the group that asyncio's TaskGroup makes of it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(TaskCancelled)[1] is None
    return isinstance(error, TaskCancelled)


def _failed(error: BaseException, log: logging.Logger) -> Ending:
    if isinstance(error, TaskCancelled):
        return Ending("failed", error="TaskCancelled was raised, but nobody cancelled the task")
    if not isinstance(error, TaskError | ConfigurationError):
        log.error("the plugin failed", exc_info=_without_our_frames(error))
    return Ending("failed", error=problem_of(error, describe(error)))


def _without_our_frames(error: BaseException) -> BaseException:
    """The error with the traceback that its author is interested in: from their code on."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)


def _is_ours(file: str) -> bool:
    return file.startswith(_OUR_FOLDERS)


def _after(log: logging.Logger, call: Any) -> None:
    try:
        call()
    except BaseException:
        log.exception("a hook that runs after the work failed; the outcome stands")


class CheckedHost:
    """Passes everything on; what is not JSON is refused here, where the author's code is."""

    def __init__(self, host: Host) -> None:
        self.download: Callable[[str | None], Path] = host.download
        self.input_size: Callable[[], int] = host.input_size
        self.read_input: Callable[[int, int], bytes | memoryview] = host.read_input
        self.upload: Callable[[Path, str | None], UploadedFile] = host.upload
        self.open_output: Callable[[str, int | None], Path] = host.open_output
        self.close_output: Callable[[str], UploadedFile] = host.close_output
        self.discard_output: Callable[[str], None] = host.discard_output
        self.progress: Callable[[float], None] = host.progress
        self.confirm: Callable[[TaskStatus], None] = host.confirm
        self._save_state = host.save_state
        self._tell = host.tell

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep the state, if it is JSON and small enough."""
        plain = checked_json(dict(state), what="the saved state", limit=STATE_LIMIT)
        _refuse_other_keys(dict(state))
        self._save_state(plain)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Pass facts on, if they are JSON and few enough."""
        self._tell(kind, checked_json(dict(facts), what="what is told", limit=LINE_LIMIT))


def _refuse_other_keys(state: dict[Any, Any]) -> None:
    """Refuse keys that JSON makes text of: the next attempt would look for them in vain."""
    left: list[Any] = [state]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key in value:
                _refuse_other_key(key)
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value


def _refuse_other_key(key: object) -> None:
    if not isinstance(key, str):
        kind = type(key).__name__
        raise InvalidResultError(
            f"the saved state has the key {key!r:.50}, of type {kind}: keys must be str"
        )
