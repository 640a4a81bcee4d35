"""Finds plugins and extensions by their entry points, and loads the ones asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from plugin_framework.errors import Code, PluginLoadError, PluginNotFoundError
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.hookspecs import TASK_HOOKS
from plugin_framework.plugin.manager import check_hooks, hooks_of

PLUGIN_GROUP = "datahub.plugins"
EXTENSION_GROUP = "datahub.extensions"

log: logging.Logger = logging.getLogger("datahub.loader")

_WRITTEN_NAMES = "see datahub-plugin list; for a class in a file of yours, write module:Class"


@dataclass(frozen=True, slots=True)
class PluginRef:
    """Where a plugin class is, so that another process can load it.

    ``file`` is the source of a module that cannot be imported by its name, such as a script.
    """

    name: str
    version: str
    module: str
    attribute: str
    file: str | None = None

    def load(self) -> type[DatahubPlugin]:
        """Import the plugin class.

        Raises:
            PluginLoadError: it cannot be imported, or is not a usable plugin.
        """
        plugin = _import(self)
        if not (isinstance(plugin, type) and issubclass(plugin, DatahubPlugin)):
            raise PluginLoadError(
                f"plugin {self.name}: {self.module}:{self.attribute} is not a DatahubPlugin class"
            )
        _check(plugin)
        return plugin


def installed_plugins() -> dict[str, PluginRef]:
    """The plugins that installed distributions declare, by name; nothing is imported."""
    return {point.name: _ref_at(point) for point in sorted(entry_points(group=PLUGIN_GROUP))}


def find_plugin(name: str) -> PluginRef:
    """The plugin of that name, or of an import reference such as ``package.module:Class``.

    Raises:
        PluginNotFoundError: naming what comes close.
        PluginLoadError: several packages declare it, or it is no reference that Python can import.
    """
    if ":" in name:
        return _ref_to(name)
    plugins = installed_plugins()
    declared = {point.value for point in entry_points(group=PLUGIN_GROUP, name=name)}
    if len(declared) > 1:
        raise PluginLoadError(
            f"plugin {name} is declared more than once ({', '.join(sorted(declared))}): uninstall"
            " all but one of the packages, or give an import reference such as"
            " package.module:Class",
            code=Code.PLUGIN_AMBIGUOUS,
        )
    if name in plugins:
        return plugins[name]
    near = difflib.get_close_matches(name, plugins, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else _WRITTEN_NAMES
    if Path(f"{(stem := name.removesuffix('.py'))}.py").is_file() and stem.isidentifier():
        hint = f"for a class in {stem}.py, write {stem}:Class"
    raise PluginNotFoundError(f"no plugin is called {name!r}: {hint}")


def ref_of(plugin: type[DatahubPlugin]) -> PluginRef:
    """The reference by which another process can load a class at hand.

    Raises:
        PluginLoadError: it is no class, or not a usable plugin.
    """
    check_class(plugin)
    for ref in installed_plugins().values():
        if (ref.module, ref.attribute) == (plugin.__module__, plugin.__qualname__):
            return ref
    _check(plugin)
    # A module run by ``python -m`` is __main__, but its spec has the name it is imported by.
    spec = getattr(sys.modules.get(plugin.__module__), "__spec__", None)
    return PluginRef(
        plugin.name or plugin.__name__,
        plugin.version,
        spec.name if spec else plugin.__module__,
        plugin.__qualname__,
        _file_of(plugin),
    )


def check_class(given: object) -> None:
    """See that a plugin class is given.

    Raises:
        PluginLoadError: it is something else, such as an object of one.
    """
    if isinstance(given, type) and issubclass(given, DatahubPlugin):
        return
    kind = type(given).__name__
    if isinstance(given, DatahubPlugin):
        raise PluginLoadError(f"plugin {kind}: give the class {kind}, and not an object of it")
    named = f"the class {given.__name__}" if isinstance(given, type) else f"an object of {kind}"
    raise PluginLoadError(f"a plugin is a DatahubPlugin class, and not {named}")


def _file_of(kind: type) -> str | None:
    return getattr(sys.modules.get(kind.__module__), "__file__", None)


@dataclass(frozen=True, slots=True)
class ExtensionRef:
    """Where an extension's class is, so that another process can make one; ``arguments`` are JSON.

    ``file`` is as of ``PluginRef``.
    """

    module: str
    attribute: str
    file: str | None = None
    arguments: Sequence[Any] = ()

    @classmethod
    def of(cls, extension: object) -> ExtensionRef:
        """The reference to an extension at hand, which its class makes anew, without arguments."""
        kind = extension if isinstance(extension, type) else type(extension)
        return cls(kind.__module__, kind.__qualname__, _file_of(kind))

    def load(self) -> object:
        """Make one. It raises what its module and its class raise."""
        kind: Any = _module(self)
        for part in self.attribute.split("."):
            kind = getattr(kind, part)
        return kind(*self.arguments)


def load_extensions(refs: Mapping[str, ExtensionRef] | None = None) -> dict[str, object]:
    """These extensions by name; None: the installed ones.

    One that cannot be imported is logged and left out.
    """
    found = {}
    makers: dict[str, Callable[[], object]]
    if refs is None:
        points = sorted(entry_points(group=EXTENSION_GROUP))
        makers = {point.name: partial(_instance, point) for point in points}
    else:
        makers = {name: ref.load for name, ref in refs.items()}
    for name, make in makers.items():
        try:
            found[name] = make()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it must not stop a task
            log.warning("extension %s cannot be loaded: %s", name, _reason(error))
    return found


def _ref_to(reference: str) -> PluginRef:
    module, _, attribute = reference.partition(":")
    file = Path(module)
    if file.suffix == ".py":
        where = "" if file.parent == Path() else f" in the folder {file.parent}"
        raise PluginLoadError(
            f"{reference} names a file; name its module instead, as"
            f" {file.stem}:{attribute or 'Class'}{where}",
            code=Code.PLUGIN_REFERENCE_WRONG,
        )
    if not _is_dotted(module) or (attribute and not _is_dotted(attribute)):
        raise PluginLoadError(
            f"{reference} cannot be imported: write it as package.module:Class",
            code=Code.PLUGIN_REFERENCE_WRONG,
        )
    return PluginRef(attribute or module, "", module, attribute)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _ref_at(point: EntryPoint) -> PluginRef:
    # Its own parts raise where the value is malformed, which must stop nobody else's plugin.
    module, _, rest = point.value.partition(":")
    version = point.dist.version if point.dist else ""
    return PluginRef(point.name, version or "", module.strip(), rest.partition("[")[0].strip())


def _instance(point: EntryPoint) -> object:
    extension = point.load()
    return extension() if isinstance(extension, type) else extension


def _import(ref: PluginRef) -> Any:
    if "<locals>" in ref.attribute:
        raise PluginLoadError(
            f"plugin {ref.name} is defined inside a function, where a process of its own cannot"
            " import it: move it to module level, or run it with isolation='thread'"
        )
    missing = object()
    try:
        found = module = _module(ref)
        for part in filter(None, ref.attribute.split(".")):
            found = getattr(found, part, missing)
    except (Exception, SystemExit) as error:
        log.debug("plugin %s cannot be imported", ref.name, exc_info=error)
        reason = _where_it_is_not(ref) if _is_absent(ref, error) else _reason(error)
        raise _not_importable(ref, reason) from error
    if found is missing or found is module:
        raise _not_importable(ref, _what_there_is(ref, module))
    return found


def _not_importable(ref: PluginRef, reason: str) -> PluginLoadError:
    return PluginLoadError(
        f"plugin {ref.name} cannot be imported from {ref.module}:{ref.attribute}: {reason}",
        code=Code.PLUGIN_NOT_IMPORTED,
    )


def _is_absent(ref: PluginRef | ExtensionRef, error: BaseException) -> bool:
    """Whether the plugin's module itself cannot be found, and not one that it imports."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and f"{ref.module}.".startswith(f"{name}.")


def _where_it_is_not(ref: PluginRef) -> str:
    installed = {sysconfig.get_path("scripts"), sysconfig.get_path("stdlib")}
    looked = {str(Path(one).absolute()): None for one in sys.path if Path(one).is_dir()}
    own = [
        one
        for one in looked
        if one not in installed
        and Path(one).name not in {"site-packages", "dist-packages", "lib-dynload"}
    ]
    modules = {file.stem for one in own for file in Path(one).glob("*.py")}
    near = difflib.get_close_matches(ref.module, modules, n=1)
    hint = f"did you mean {near[0]}:{ref.attribute}? " if near else ""
    where = ", ".join([*own, "the installed packages"])
    return f"there is no module {ref.module}; {hint}looked in {where}"


def _what_there_is(ref: PluginRef, module: Any) -> str:
    classes = [
        name
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, DatahubPlugin) and one is not DatahubPlugin
    ]
    lacks = f"there is no {ref.attribute} in it" if ref.attribute else "no class is named"
    near = difflib.get_close_matches(ref.attribute, classes, n=1)
    if near:
        return f"{lacks}; did you mean {ref.module}:{near[0]}?"
    written = ", ".join(f"{ref.module}:{name}" for name in classes)
    return f"{lacks}; there is {written or 'no plugin class in it'}"


def _module(ref: PluginRef | ExtensionRef) -> Any:
    if ref.module != "__main__":
        try:
            return importlib.import_module(ref.module)
        except ModuleNotFoundError as error:
            if ref.file is None or not _is_absent(ref, error):
                raise
    return _module_of_file(ref.file)


def _module_of_file(file: str | None) -> Any:
    if file is None:
        raise PluginLoadError("it was not defined in a file")
    name = "datahub_plugin_of_" + re.sub(r"\W", "_", file)
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise PluginLoadError(f"{file} is not a Python file")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _check(plugin: type[DatahubPlugin]) -> None:
    if "process" not in hooks_of(plugin):
        raise PluginLoadError(f"plugin {plugin.__name__} has no process(self, ctx)")
    config: object = plugin.Config
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginLoadError(f"plugin {plugin.__name__}: its Config is not a PluginConfig")
    for name in filter(lambda name: name.startswith("on_"), dir(plugin)):
        near = difflib.get_close_matches(name, TASK_HOOKS, n=1, cutoff=0.7)
        if near and name not in TASK_HOOKS:
            raise PluginLoadError(
                f"plugin {plugin.__name__}: {name} is not a hook; did you mean {near[0]}?"
            )
    _check_resources(plugin)
    check_hooks(plugin)
    _check_constructor(plugin)


def _check_resources(plugin: type[DatahubPlugin]) -> None:
    """See that they can be told to other processes; what they say is for engines to judge."""
    given: object = plugin.resources
    if not isinstance(given, Mapping) or not all(
        isinstance(key, str) and isinstance(value, int | float | str)
        for key, value in given.items()
    ):
        raise PluginLoadError(
            f"plugin {plugin.__name__}: its resources are not a mapping such as"
            ' {"cpus": 1, "memory": "2GiB"}'
        )


def _check_constructor(plugin: type[DatahubPlugin]) -> None:
    """See that one can be made without arguments, as each task does."""
    try:
        inspect.signature(plugin).bind()
    except TypeError:
        raise PluginLoadError(
            f"plugin {plugin.__name__}: its __init__ takes no parameters but self; what a task is"
            " to be told belongs in its Config"
        ) from None
    except ValueError:  # it is not written in Python, and has no signature
        return


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    what = f"{kind}: {lines[0]}" if lines else kind
    own = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(("<frozen", own))]
    return f"{what} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else what
