"""The public surface: Python names read from the source, others from a process that imports it.

``python -m tests.api.surface`` writes it to ``released.json``. Do so at a release, and before one
only for a change that the changelog tells authors of.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import griffe

PROJECT = Path(__file__).parents[2]
RELEASED = Path(__file__).with_name("released.json")

NAMES = Path(__file__).with_name("names.py")

CONSTRUCTED = {
    "Clock",
    "Credentials",
    "Emulator",
    "LocalDatahub",
    "PluginError",
    "TaskResult",
}
"""Classes of which authors make instances; the others' constructors are the framework's own."""

NOT_OURS = {"model_config", "settings_customise_sources"}
"""Names that pydantic gives."""

Parameters: TypeAlias = list[list[str | bool]] | None
"""Of a function, each with its name, its kind, and whether it must be given."""

Surface: TypeAlias = dict[str, Parameters]


def surface(folder: Path = PROJECT) -> Surface:
    """Every public name, in order, with its parameters if it has any."""
    package = griffe.load("plugin_framework", search_paths=[folder], try_relative_path=False)
    assert isinstance(package, griffe.Module)
    return dict(sorted([*_names(package), *_imported(folder).items()]))


def _imported(folder: Path) -> Surface:
    """What cannot be read from the source: see ``names``."""
    command = [sys.executable, "-P", str(NAMES), str(folder)]  # -P: only PYTHONPATH counts
    env = {**os.environ, "PYTHONPATH": str(folder)}
    found: Surface = json.loads(
        subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout
    )
    return found


def _names(package: griffe.Module) -> Iterator[tuple[str, Parameters]]:
    for module in (package, package["testing"], package["emulator"]):
        for name in module.exports or ():
            yield from _public(f"{module.path}.{name}", module[str(name)])
    nested = package["settings.model.TransferSettings"]
    yield from _public("plugin_framework.Settings.transfer", nested)
    yield from _public("plugin_framework.emulator.chaos.Chaos", package["emulator.chaos.Chaos"])
    for owner in ("TaskHooks", "ObserverHooks"):
        yield from _public(f"hooks.{owner}", package["plugin.hookspecs"][owner])
    for name, kind in package["errors"].classes.items():
        if name != "Problem":
            yield from _public(f"errors.{name}", kind)


def _public(path: str, given: griffe.Object | griffe.Alias) -> Iterator[tuple[str, Parameters]]:
    try:
        found = given.final_target if isinstance(given, griffe.Alias) else given
    except griffe.AliasResolutionError:  # it is another package's
        yield path, None
        return
    yield path, _parameters(found)
    if isinstance(found, griffe.Class):
        for name, member in found.all_members.items():
            made = name == "__init__" and found.name in CONSTRUCTED
            if made or not (name.startswith("_") or name in NOT_OURS):
                yield f"{path}.{name}", _parameters(member)


def _parameters(found: griffe.Object | griffe.Alias) -> Parameters:
    found = found.final_target if isinstance(found, griffe.Alias) else found
    if not isinstance(found, griffe.Function):
        return None
    return [
        [one.name, str(one.kind.value if one.kind else ""), one.required]
        for one in found.parameters
        if one.name not in {"self", "cls"}
    ]


def breaks(before: Surface, now: Surface) -> list[str]:
    """A line for each change that somebody's plugin may notice."""
    lines = []
    for name, parameters in before.items():
        if name not in now:
            near = difflib.get_close_matches(name, now.keys() - before.keys(), n=1, cutoff=0.7)
            lines.append(f"{name} is gone" + (f"; is it {near[0]} now?" if near else ""))
        elif parameters is not None:
            lines += [f"{name}: {told}" for told in _changed(parameters, now[name])]
    return lines


def _changed(before: list[list[str | bool]], after: Parameters) -> Iterator[str]:
    if after is None:
        yield "is no function any more"
        return
    old, new = ({str(one[0]): one for one in given} for given in (before, after))
    for name, facts in old.items():
        if name not in new:
            yield f"its parameter {name} is gone"
        elif facts[1] != new[name][1]:
            yield f"its parameter {name} was {facts[1]}, and is {new[name][1]}"
        elif new[name][2] and not facts[2]:
            yield f"its parameter {name} must be given now"
    for name in new.keys() - old.keys():
        if new[name][2] and not str(new[name][1]).startswith("variadic"):
            yield f"its new parameter {name} must be given"
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield "its parameters stand in another order"


def released() -> Surface:
    """The surface of the last release."""
    given: Surface = json.loads(RELEASED.read_text(encoding="utf-8"))
    return given


def main() -> None:
    """Write what is public now."""
    lines = [f"{json.dumps(name)}: {json.dumps(given)}" for name, given in surface().items()]
    RELEASED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
