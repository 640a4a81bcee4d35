"""One pluggy manager per task: the author's plugin, and the extensions around it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pluggy

from plugin_framework.errors import PluginLoadError, TaskInterrupted
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.hookspecs import (
    OBSERVER_HOOKS,
    PROJECT,
    TASK_HOOKS,
    ObserverHooks,
    TaskHooks,
    hookimpl,
)

if TYPE_CHECKING:
    from plugin_framework.plugin.async_hooks import AsyncHooks

log = logging.getLogger("datahub.extensions")

_MARK = f"{PROJECT}_impl"


def task_manager(
    plugin: DatahubPlugin, extensions: Mapping[str, object], async_hooks: AsyncHooks
) -> pluggy.PluginManager:
    """The manager whose hooks run one task.

    Raises:
        PluginLoadError: a hook takes parameters that it is not given.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(TaskHooks)
    own = {
        name: hookimpl(_settled(getattr(plugin, name), async_hooks)) for name in hooks_of(plugin)
    }
    _register(manager, type(plugin).__name__, own)
    for label, extension in extensions.items():
        _register(manager, label, _guarded_hooks(extension, label, TASK_HOOKS, async_hooks))
    return manager


def observer_manager(extensions: Mapping[str, object]) -> pluggy.PluginManager:
    """The manager whose hooks observe tasks, in the supervisor."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(ObserverHooks)
    for label, extension in extensions.items():
        _register(manager, label, _guarded_hooks(extension, label, OBSERVER_HOOKS, None))
    return manager


def hooks_of(plugin: DatahubPlugin | type[DatahubPlugin]) -> tuple[str, ...]:
    """The names of the hooks that a plugin really implements."""
    own = plugin if isinstance(plugin, type) else type(plugin)
    return tuple(
        name for name in TASK_HOOKS if getattr(own, name) is not getattr(DatahubPlugin, name)
    )


def _register(
    manager: pluggy.PluginManager, label: str, hooks: Mapping[str, Callable[..., Any]]
) -> None:
    try:
        manager.register(SimpleNamespace(**hooks), name=label)
    except pluggy.PluginValidationError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PluginLoadError(
            f"{label} has a hook with parameters it is not given ({reason}); they are called"
            " ctx, and result, error or status where the hook has one"
        ) from None


def _settled(hook: Callable[..., Any], async_hooks: AsyncHooks) -> Callable[..., Any]:
    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        return async_hooks.settle(hook(*args, **kwargs))

    return call


def _guarded_hooks(
    extension: object, label: str, names: Iterable[str], async_hooks: AsyncHooks | None
) -> dict[str, Callable[..., Any]]:
    found = {}
    for name in names:
        hook = getattr(extension, name, None)
        options = getattr(hook, _MARK, None)
        if hook is None or options is None:
            continue
        if options["hookwrapper"]:
            raise PluginLoadError(f"extension {label}: {name} must use hookimpl(wrapper=True)")
        settled = hook if async_hooks is None else _settled(hook, async_hooks)
        guard = _guard_wrapper if options["wrapper"] else _guard
        guarded = guard(hook if options["wrapper"] else settled, f"{label}.{name}")
        setattr(guarded, _MARK, options)
        found[name] = guarded
    return found


def _guard(hook: Callable[..., Any], label: str) -> Callable[..., Any]:
    """An extension's hook whose exceptions are logged and go no further."""

    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except TaskInterrupted:
            raise
        except BaseException:
            log.exception("extension %s failed; the task goes on", label)
            return None

    return call


def _guard_wrapper(hook: Callable[..., Any], label: str) -> Callable[..., Any]:
    """An extension's wrapper that may replace a result, but cannot lose one by mistake.

    What it raises is logged; where it returns nothing, what it wrapped stands.
    """

    @functools.wraps(hook)
    def wrap(*args: Any, **kwargs: Any) -> Generator[None, Any, Any]:
        inner = _started(hook(*args, **kwargs), label)
        result, raised = None, None
        try:
            result = yield
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised = error
        replaced = _finished(inner, result, raised, label) if inner else None
        if replaced is not None:
            return replaced
        if raised is not None:
            raise raised
        return result

    return wrap


def _started(inner: Generator[None, Any, Any], label: str) -> Generator[None, Any, Any] | None:
    try:
        next(inner)
    except TaskInterrupted:
        raise
    except BaseException:
        log.exception("extension %s failed before its yield; the task goes on", label)
        return None
    return inner


def _finished(
    inner: Generator[None, Any, Any], result: Any, raised: BaseException | None, label: str
) -> Any:
    try:
        if raised is None:
            inner.send(result)
        else:
            inner.throw(raised)
        inner.close()
        log.error("extension %s yields more than once; the task goes on", label)
    except StopIteration as stop:
        return stop.value
    except BaseException as error:
        if isinstance(error, TaskInterrupted) and error is not raised:
            raise
        if error is not raised:
            log.exception("extension %s failed after its yield; the outcome stands", label)
    return None
