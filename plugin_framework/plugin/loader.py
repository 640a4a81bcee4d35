"""Finds plugins and extensions by their entry points, and loads the ones asked for."""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from plugin_framework.errors import Code, PluginLoadError, PluginNotFoundError
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.class_checks import check_class, check_usable
from plugin_framework.plugin.importing import (
    is_absent,
    module_of,
    reason_of,
    what_there_is,
    where_it_is_not,
)

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
        check_usable(plugin)
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
    stem = name.removesuffix(".py")
    if stem.isidentifier() and os.access(f"{stem}.py", os.R_OK):
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
    check_usable(plugin)
    # A module run by ``python -m`` is __main__, but its spec has the name it is imported by.
    spec = getattr(sys.modules.get(plugin.__module__), "__spec__", None)
    return PluginRef(
        plugin.name or plugin.__name__,
        plugin.version,
        spec.name if spec else plugin.__module__,
        plugin.__qualname__,
        _file_of(plugin),
    )


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
        kind: Any = module_of(self.module, self.file)
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
            log.warning("extension %s cannot be loaded: %s", name, reason_of(error))
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
        found = module = module_of(ref.module, ref.file)
        for part in filter(None, ref.attribute.split(".")):
            found = getattr(found, part, missing)
    except (Exception, SystemExit) as error:
        log.debug("plugin %s cannot be imported", ref.name, exc_info=error)
        absent = is_absent(ref.module, error)
        reason = where_it_is_not(ref.module, ref.attribute) if absent else reason_of(error)
        raise _not_importable(ref, reason) from error
    if found is missing or found is module:
        raise _not_importable(ref, what_there_is(module, ref.module, ref.attribute))
    return found


def _not_importable(ref: PluginRef, reason: str) -> PluginLoadError:
    return PluginLoadError(
        f"plugin {ref.name} cannot be imported from {ref.module}:{ref.attribute}: {reason}",
        code=Code.PLUGIN_NOT_IMPORTED,
    )
