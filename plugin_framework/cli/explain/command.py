"""The command."""

from __future__ import annotations

import re

import click

from plugin_framework.cli.streams import own_stdout
from plugin_framework.errors import Code

_NUMBER = re.compile(r"\[?(?:DH-?)?(\d{3})\]?", re.IGNORECASE)


@click.command("explain")
@click.argument("code", required=False)
def explain_command(code: str | None) -> None:
    """Explain CODE, such as DH-101, which stands at the end of a problem's line.

    Without CODE, all codes are listed.
    """
    from plugin_framework.cli.explain.page import page_of, title_of  # noqa: PLC0415 - loaded late

    with own_stdout() as say:
        if code is None:
            for each in Code:
                say(f"{each}  {title_of(each)}")
        else:
            say(page_of(_known(code)).rstrip())


def _known(given: str) -> Code:
    found = _NUMBER.fullmatch(given.strip())
    try:
        return Code(f"DH-{found[1] if found else given}")
    except ValueError:
        raise click.BadParameter(
            f"there is no code {given!r}; datahub-plugin explain lists them", param_hint="CODE"
        ) from None
