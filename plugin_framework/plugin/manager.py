"""One pluggy manager per task: the author's plugin, and the extensions around it."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pluggy

from plugin_framework.errors import Code, PluginLoadError
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

log: logging.Logger = logging.getLogger("datahub.extensions")

_GIVEN = frozenset({"ctx", "result", "error", "status", "tx_hash", "subtask_id"})
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
    own = {name: _settled(getattr(plugin, name), async_hooks) for name in hooks_of(plugin)}
    _register(manager, f"plugin {type(plugin).__name__}", own)
    for label, extension in extensions.items():
        _extend(manager, label, extension, TASK_HOOKS, async_hooks)
    return manager


def observer_manager(extensions: Mapping[str, object]) -> pluggy.PluginManager:
    """The manager whose hooks observe tasks, in the supervisor."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(ObserverHooks)
    for label, extension in extensions.items():
        _extend(manager, label, extension, OBSERVER_HOOKS, None)
    return manager


def check_hooks(plugin: type[DatahubPlugin]) -> None:
    """See that every hook of a plugin class takes parameters that it is given.

    Raises:
        PluginLoadError: naming the hook.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(TaskHooks)
    for name in hooks_of(plugin):
        hook = inspect.getattr_static(plugin, name)
        names = list(inspect.signature(hook).parameters) if inspect.isfunction(hook) else []
        if names and names[0] in _GIVEN:
            raise PluginLoadError(
                f"plugin {plugin.__name__}: {name} lacks self, its first parameter",
                code=Code.EXTENSION_UNUSABLE,
            )
    own = {name: _settled(getattr(plugin, name), None) for name in hooks_of(plugin)}
    _register(manager, f"plugin {plugin.__name__}", own)


def hooks_of(plugin: DatahubPlugin | type[DatahubPlugin]) -> tuple[str, ...]:
    """The names of the hooks that a plugin really implements."""
    own = plugin if isinstance(plugin, type) else type(plugin)
    return tuple(
        name for name in TASK_HOOKS if getattr(own, name) is not getattr(DatahubPlugin, name)
    )


def _register(
    manager: pluggy.PluginManager, label: str, hooks: Mapping[str, Callable[..., Any]]
) -> None:
    for name, hook in hooks.items():
        if not hasattr(hook, _MARK):
            hooks = {**hooks, name: hookimpl(hook)}
    try:
        manager.register(SimpleNamespace(**hooks), name=label)
    except pluggy.PluginValidationError as error:
        lines = str(error).strip().splitlines()
        definition = next((line for line in lines if line.startswith("hookimpl definition")), "")
        raise PluginLoadError(
            f"{label}: {definition.removeprefix('hookimpl definition: ') or lines[-1]} has a"
            " parameter that the hook is not given; they are called ctx, and result, error or"
            " status where the hook has one, or tx_hash and subtask_id of on_payment",
            code=Code.EXTENSION_UNUSABLE,
        ) from None


def _settled(hook: Callable[..., Any], async_hooks: AsyncHooks | None) -> Callable[..., Any]:
    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = hook(*args, **kwargs)
        return result if async_hooks is None else async_hooks.settle(result)

    return call


def _extend(
    manager: pluggy.PluginManager,
    label: str,
    extension: object,
    names: Iterable[str],
    async_hooks: AsyncHooks | None,
) -> None:
    """Register an extension's hooks; one that cannot be used is logged and left out."""
    try:
        # Two without any would count as one and the same.
        if hooks := _guarded_hooks(extension, label, names, async_hooks):
            _register(manager, f"extension {label}", hooks)
    except Exception as error:  # noqa: BLE001 - it must not stop a task
        log.warning("extension %s is left out: %s", label, error)


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
            raise PluginLoadError(
                f"{name} must use hookimpl(wrapper=True)", code=Code.EXTENSION_UNUSABLE
            )
        if async_hooks is None and inspect.iscoroutinefunction(hook):
            raise PluginLoadError(
                f"{name} observes, and must be a plain def", code=Code.EXTENSION_UNUSABLE
            )
        if options["wrapper"]:
            guarded = _guard_wrapper(hook, f"{label}.{name}")
        else:
            guarded = _guard(_settled(hook, async_hooks), f"{label}.{name}")
        setattr(guarded, _MARK, options)
        found[name] = guarded
    return found


def _guard(hook: Callable[..., Any], label: str) -> Callable[..., Any]:
    """An extension's hook whose exceptions are logged and go no further.

    A cancel that is raised in it is not lost: the gate stays shut.
    """

    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except BaseException:
            log.exception("extension %s failed; the task goes on", label)
            return None

    return call


def _guard_wrapper(hook: Callable[..., Any], label: str) -> Callable[..., Any]:
    """An extension's wrapper that may replace a result, but cannot lose one by mistake.

    What it raises is logged; where it returns nothing, what it wrapped stands. What it wrapped
    raised always stands, a cancel above all.
    """

    @functools.wraps(hook)
    def wrap(*args: Any, **kwargs: Any) -> Generator[None, Any, Any]:
        inner = _started(lambda: hook(*args, **kwargs), label)
        try:
            result = yield
        except BaseException as error:  # noqa: BLE001 - raised again
            trace = error.__traceback__
            _finished(inner, error, label, raised=True)
            raise error.with_traceback(trace)  # noqa: B904 - it is the same error
        replaced = _finished(inner, result, label, raised=False)
        return result if replaced is None else replaced

    return wrap


def _started(call: Callable[[], Generator[None, Any, Any]], label: str) -> Any:
    """The wrapper, run up to its yield; one that did not get there is done."""
    try:
        inner = call()
        next(inner)
    except BaseException:
        log.exception("extension %s failed before its yield; the task goes on", label)
        return None
    return inner


def _finished(inner: Any, outcome: Any, label: str, *, raised: bool) -> Any:
    """What the wrapper returns after its yield, if it got there."""
    if inner is None:
        return None
    try:
        (inner.throw if raised else inner.send)(outcome)
        inner.close()
        log.error("extension %s yields more than once; the task goes on", label)
    except StopIteration as stop:
        return stop.value
    except BaseException as error:
        if error is not outcome:
            log.exception("extension %s failed after its yield; the outcome stands", label)
    return None
