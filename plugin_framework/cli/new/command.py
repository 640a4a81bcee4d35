"""The command ``new``: asks, checks, and has the project made."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plugin_framework.cli.streams import own_stdout

if TYPE_CHECKING:
    from plugin_framework.cli.new.project import Project

_DESCRIPTION = "Cleans the lines of a text."


@click.command("new", short_help="Make a plugin project: package, tests, image, CI.")
@click.argument("folder", metavar="DIR")
@click.option("--name", metavar="NAME", help="What the plugin is called; else as DIR is.")
@click.option("--class", "class_name", metavar="CLASS", help="Its class; else as its name is.")
@click.option("--package", metavar="PACKAGE", help="Its package; else as its name is.")
@click.option("--description", metavar="TEXT", help="What it does, in one line.")
@click.option("--async", "is_async", is_flag=True, help="Write process as async def.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def new_command(folder: str, *, is_async: bool, yes: bool, **given: str | None) -> None:
    """Make a plugin project in DIR, which is made, too, or is empty.

    It is a package with a plugin that works, tests of it and a conformance test, a README, a
    Dockerfile and a workflow for CI. Its own tests pass as it is made.

    On a terminal, what is not given is asked for; elsewhere it is taken as it would be proposed.
    """
    from plugin_framework.cli.new.folder import wrong_folder  # noqa: PLC0415 - loaded late

    where = Path(os.path.abspath(folder))  # noqa: PTH100 - without "..", and links as they stand
    if wrong := wrong_folder(where):
        raise click.BadParameter(wrong, param_hint="DIR")
    choose = _Chooser(ask=not yes and sys.stdin.isatty())
    project = _chosen(choose, given, where.name, is_async=is_async)
    _make(where, project)
    with own_stdout() as say:
        for line in _next_steps(folder, project):
            say(line)


@dataclass(frozen=True, slots=True)
class _Chooser:
    """Takes what is given, or asks where somebody can answer, or takes what is proposed."""

    ask: bool

    def __call__(
        self, option: str, given: str | None, proposal: str, wrong: Callable[[str], str]
    ) -> str:
        """The choice; BadParameter where it is wrong and nobody can be asked again."""

        def checked(text: str) -> str:
            if reason := wrong(text):
                raise click.BadParameter(reason, param_hint=option)
            return text

        if given is not None or not self.ask:
            return checked(proposal if given is None else given)
        label = option.removeprefix("--").capitalize()
        default = None if wrong(proposal) else proposal
        choice: str = click.prompt(label, default=default, value_proc=checked, err=True)
        return choice


def _chosen(
    choose: _Chooser, given: Mapping[str, str | None], folder: str, *, is_async: bool
) -> Project:
    from plugin_framework.cli.new import names  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.new.project import Project  # noqa: PLC0415 - loaded late

    name = choose("--name", given["name"], names.proposed_name(folder), names.wrong_name)
    package, class_name = names.proposed_package(name), names.proposed_class(name)
    return Project(
        name=name,
        package=choose("--package", given["package"], package, names.wrong_package),
        class_name=choose("--class", given["class_name"], class_name, names.wrong_class),
        description=choose(
            "--description", given["description"], _DESCRIPTION, names.wrong_description
        ),
        is_async=is_async,
    )


def _make(folder: Path, project: Project) -> None:
    from plugin_framework.cli.new.folder import put  # noqa: PLC0415 - loaded late
    from plugin_framework.errors import ConfigurationError  # noqa: PLC0415 - loaded late

    try:
        put(folder, project.files())
    except OSError as error:
        told = f"the project {folder} cannot be made ({error.strerror})"
        raise ConfigurationError(f"{told}: expected a folder that can be written") from None


def _next_steps(folder: str, project: Project) -> Iterator[str]:
    from plugin_framework.cli.new.source import source  # noqa: PLC0415 - loaded late

    yield f"made {project.name}. What to do next:"
    yield ""
    if folder != ".":
        yield f"  cd {shlex.quote(folder)}"
    yield f"  pip wheel --no-deps --wheel-dir wheels {source()}"
    yield "  pip install --find-links wheels -e '.[test]'"
    yield "  pytest"
    yield f"  datahub-plugin run {project.name} --local tests/sample.txt --out out/"
    yield f"  datahub-plugin dev {project.name}"
