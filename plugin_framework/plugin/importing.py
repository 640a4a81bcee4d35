"""Imports the modules of plugins, and says in plain words why one cannot be imported."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from plugin_framework.errors import PluginLoadError
from plugin_framework.plugin.base import DatahubPlugin


def module_of(name: str, file: str | None) -> Any:
    """Import a module, from its file where that cannot be done by its name.

    It raises what the module does.

    Raises:
        PluginLoadError: there is no file to import it from.
    """
    if name != "__main__":
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if file is None or not is_absent(name, error):
                raise
    return _module_of_file(file)


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


def reason_of(error: BaseException) -> str:
    """One line on why an import failed, and where in the author's code."""
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    what = f"{kind}: {lines[0]}" if lines else kind
    own = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(("<frozen", own))]
    return f"{what} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else what


def is_absent(module: str, error: BaseException) -> bool:
    """Whether the module itself cannot be found, and not one that it imports."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and f"{module}.".startswith(f"{name}.")


def where_it_is_not(module: str, attribute: str) -> str:
    """Where a module was looked for in vain, and what comes close to it."""
    installed = {sysconfig.get_path("scripts"), sysconfig.get_path("stdlib")}
    looked = {str(Path(one).absolute()): None for one in sys.path if Path(one).is_dir()}
    own = [
        one
        for one in looked
        if one not in installed
        and Path(one).name not in {"site-packages", "dist-packages", "lib-dynload"}
    ]
    modules = {file.stem for one in own for file in Path(one).glob("*.py")}
    near = difflib.get_close_matches(module, modules, n=1)
    hint = f"did you mean {near[0]}:{attribute}? " if near else ""
    where = ", ".join([*own, "the installed packages"])
    return f"there is no module {module}; {hint}looked in {where}"


def what_there_is(module: Any, name: str, attribute: str) -> str:
    """Which plugin classes a module has, in place of the one that it lacks."""
    classes = [
        own
        for own, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, DatahubPlugin) and one is not DatahubPlugin
    ]
    lacks = f"there is no {attribute} in it" if attribute else "no class is named"
    near = difflib.get_close_matches(attribute, classes, n=1)
    if near:
        return f"{lacks}; did you mean {name}:{near[0]}?"
    written = ", ".join(f"{name}:{own}" for own in classes)
    return f"{lacks}; there is {written or 'no plugin class in it'}"
