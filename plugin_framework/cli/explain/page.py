"""The page of a code: its remedy and what raises it from the code, the rest written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from plugin_framework import errors
from plugin_framework.errors import Code

_REMEDY = "## What to do\n\n"
_TEXTS = files("plugin_framework.cli.explain") / "texts"


def page_of(code: Code) -> str:
    """The whole page, as Markdown."""
    title, body = _text(code)
    cause, details = body.split(_REMEDY)
    return f"# {code}: {title}\n\n{cause}{_REMEDY}{code.remedy}\n\n{details}\n\n{_raised(code)}\n"


def title_of(code: Code) -> str:
    """A few words on the cause."""
    return _text(code)[0]


def _text(code: Code) -> tuple[str, str]:
    """The title and the rest of what was written by hand."""
    text = (_TEXTS / f"{code}.md").read_text(encoding="utf-8")
    title, _, body = text.partition("\n")
    return title.removeprefix("# "), body.strip()


def _raised(code: Code) -> str:
    name = f"In Python the code is `Code.{code.name}`"
    classes = [f"`{kind}`" for kind in _classes(code)]
    if not classes:
        return f"{name}."
    return f"{name}, and that of {' and '.join(classes)} unless a finer one is given."


def _classes(code: Code) -> Iterator[str]:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and vars(kind).get("code") is code:
            yield name
