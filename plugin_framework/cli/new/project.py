"""A project: what is known of it, and the files that come of that."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plugin_framework._version import __version__
from plugin_framework.cli.new.source import shown_source

_FOLDER = Path(__file__).parent
_SENTENCE_ENDS = (".", "!", "?", "…", "。")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#+\-|~&])")


class _Template(string.Template):
    """Dollars mean something in shells and workflows; nothing here means anything by ``%%``."""

    delimiter = "%%"


@dataclass(frozen=True, slots=True)
class Project:
    """What the user has chosen, found to be right by ``names``."""

    name: str
    package: str
    class_name: str
    description: str
    is_async: bool = False

    @property
    def summary(self) -> str:
        """The description as a sentence."""
        text = self.description.strip()
        return text if text.endswith(_SENTENCE_ENDS) else f"{text}."

    def files(self) -> Iterator[tuple[Path, str]]:
        """Each file's path in the project and its text."""
        words = self._words()
        for path, template in self._templates().items():
            yield path, _Template(template.read_text(encoding="utf-8")).substitute(words)

    def _templates(self) -> dict[Path, Path]:
        roots = ["template", "template_async"] if self.is_async else ["template"]
        return {
            self._path(file.relative_to(_FOLDER / root)): file
            for root in roots
            for file in sorted((_FOLDER / root).rglob("*.tmpl"))
        }

    def _path(self, template: Path) -> Path:
        """Templates are named so that no tool takes them for what they become."""
        parts = [
            self.package if part == "package" else re.sub("^dot_", ".", part)
            for part in template.with_suffix("").parts
        ]
        return Path(*parts)

    def _words(self) -> dict[str, str]:
        return {
            "name": self.name,
            "package": self.package,
            "class": self.class_name,
            "docstring": _in_docstring(self.summary),
            "description_toml": json.dumps(self.summary, ensure_ascii=False),
            "description_markdown": _MARKDOWN.sub(r"\\\1", self.summary),
            "framework_version": __version__,
            "framework_source": shown_source(),
        }


def _in_docstring(text: str) -> str:
    """As what stands between three quotes; a sentence's end is after it, so never a quote."""
    escaped = text.replace("\\", r"\\").replace('"""', r"\"\"\"")
    return f" {escaped}" if escaped.startswith('"') else escaped
