"""A page for each code, from the code and from what ``datahub-plugin explain`` prints."""

from __future__ import annotations

from collections.abc import Iterator

from plugin_framework.cli.explain import page_of, title_of
from plugin_framework.errors import Code

GROUPS = {
    "1": "Configuration",
    "2": "Datahub's API",
    "3": "Transfers",
    "4": "The journal",
    "5": "The task",
    "6": "Many machines",
    "9": "The framework",
}


def pages(note: str) -> dict[str, str]:
    """The text of each code's page, by its file name; ``note`` says that it is generated."""
    return {
        f"errors/{code}.md": f"{note}\n{page_of(code)}\n[All codes](../errors.md)\n"
        for code in Code
    }


def link(kind: type[BaseException]) -> str:
    """The code of an error class, as a link to its page."""
    code = getattr(kind, "code")  # noqa: B009 - all that are asked for have one
    return f"[{code}](errors/{code}.md)"


def codes() -> Iterator[str]:
    """The section of the page of errors that lists them."""
    yield "## Codes\n"
    yield "A problem's line ends with its code, which stays the same in all releases:\n"
    yield "```text"
    yield 'datahub-plugin: DATAHUB_ISOLATION="none": expected process or thread [DH-102]'
    yield "```\n"
    yield "In JSON logs it is the field `code`, and in Python the attribute `code` of the error."
    yield "`datahub-plugin explain DH-102` prints the code's page.\n"
    for digit, title in GROUPS.items():
        yield f"### {title}\n"
        yield "| code | cause | what to do |\n| --- | --- | --- |"
        for code in Code:
            if code.startswith(f"DH-{digit}"):
                yield f"| [{code}](errors/{code}.md) | {title_of(code)} | {code.remedy} |"
        yield ""
