"""Which names a project can have, and what is proposed where none is given.

Each check returns what is wrong with a text, or nothing.
"""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from plugin_framework.plugin.loader import installed_plugins

LONGEST_NAME = 40
LONGEST_DESCRIPTION = 110

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_NO_PACKAGES = {"conftest", "plugin_framework", "test", "tests", "wheels"}
# What the modules that are written import or define.
_NO_CLASSES = {
    "BLOCK",
    "Config",
    "DatahubPlugin",
    "Field",
    "LocalDatahub",
    "Path",
    "PluginConfig",
    "PluginConformance",
    "PluginError",
    "SAMPLE",
    "TaskContext",
    "TaskResult",
    "TaskStatus",
    "TestConformance",
}


def proposed_name(folder: str) -> str:
    """A plugin's name made of its folder's; empty where there is nothing to make it of."""
    return "-".join(re.findall(r"[a-z0-9]+", folder.lower()))


def proposed_package(name: str) -> str:
    """The package of the plugin with this name."""
    return name.replace("-", "_")


def proposed_class(name: str) -> str:
    """The class of the plugin with this name."""
    return "".join(part.capitalize() for part in name.split("-"))


def wrong_name(text: str) -> str:
    """Of a plugin, which is that of its distribution, too."""
    if not _NAME.fullmatch(text):
        return f"{text!r} is no name: expected lower-case words such as my-plugin"
    if len(text) > LONGEST_NAME:
        return f"it has {len(text)} characters: expected at most {LONGEST_NAME}"
    if text in installed_plugins():
        return f"an installed plugin is called {text} already"
    if _is_distribution(text):
        return f"an installed package is called {text} already"
    return ""


def wrong_package(text: str) -> str:
    """Of a package that is to be imported beside all others."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", text):
        return f"{text!r} is no package: expected a lower-case name such as my_plugin"
    if keyword.iskeyword(text):
        return f"{text} is a word of Python's own"
    if len(text) > LONGEST_NAME:
        return f"it has {len(text)} characters: expected at most {LONGEST_NAME}"
    if text in _NO_PACKAGES or text in sys.stdlib_module_names or _is_importable(text):
        return f"there is a package {text} already"
    return ""


def wrong_class(text: str) -> str:
    """Of the plugin's class, in a module beside other names."""
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", text):
        return f"{text!r} is no class: expected a name such as MyPlugin"
    if keyword.iskeyword(text) or hasattr(builtins, text):
        return f"{text} is a word of Python's own"
    if len(text) > LONGEST_NAME:
        return f"it has {len(text)} characters: expected at most {LONGEST_NAME}"
    if text in _NO_CLASSES:
        return f"{text} means something else in the plugin's module"
    return ""


def wrong_description(text: str) -> str:
    """Of one line for people."""
    if not text.strip():
        return "expected a line that says what the plugin does"
    if not text.isprintable():
        return "expected one line of printable text"
    if len(text) > LONGEST_DESCRIPTION:
        return f"it has {len(text)} characters: expected at most {LONGEST_DESCRIPTION}"
    return ""


def _is_distribution(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _is_importable(package: str) -> bool:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # half-imported, or an import hook's own business
        return True
    # Any folder looks like a package without an origin.
    return spec is not None and spec.origin is not None
