"""Checks code blocks that are not run: YAML, Dockerfiles, and ini files such as systemd's units."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no hints

INSTRUCTIONS = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|ONBUILD|RUN|SHELL|STOPSIGNAL"
    "|USER|VOLUME|WORKDIR"
)
EXECUTED = frozenset({"CMD", "ENTRYPOINT", "HEALTHCHECK"})
UNIT_KINDS = frozenset({".service", ".timer", ".socket", ".path", ".target"})
# The reader's machine has these; this one need not.
_NOT_HERE = re.compile(r"is not executable: No such file|Unit \S+ not found|^$")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # as above
    """Refuses a key that comes twice, of which others take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - as it is called
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"twice in one mapping: {twice}")
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def check_yaml(text: str) -> None:
    """Every document can be read; one of Kubernetes says what it is, and what it is called."""
    for document in yaml.load_all(text, Loader=_Loader):
        if document is None:
            raise ValueError("an empty document")
        for_kubernetes = isinstance(document, dict) and "apiVersion" in document
        if for_kubernetes and not ("kind" in document and document.get("metadata", {}).get("name")):
            raise ValueError("a Kubernetes object has a kind, and a name in its metadata")


def check_dockerfile(text: str) -> None:
    """Known instructions, a FROM, and whatever is executed in its exec form: a JSON array.

    In the shell form a shell is the first process, and no signal reaches the plugin. A block that
    names no base image is a part of a file, whose other parts are elsewhere.
    """
    parts = list(_instructions(text))
    if not parts:
        raise ValueError("no instruction")
    for name, rest in parts:
        if not INSTRUCTIONS.fullmatch(name):
            raise ValueError(f"no such instruction: {name}")
        if name in EXECUTED and rest != "NONE":
            _exec_form(name, re.sub(r"^(--\S+\s+)*(CMD\s+)?", "", rest))
    names = [name for name, _ in parts]
    if "FROM" in names and set(names[: names.index("FROM")]) - {"ARG"}:
        raise ValueError("only ARG may stand before the first FROM")


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        yield name, rest.strip()


def _exec_form(name: str, text: str) -> None:
    try:
        argv = json.loads(text)
    except ValueError:
        argv = None
    if not (isinstance(argv, list) and argv and all(isinstance(one, str) for one in argv)):
        raise ValueError(f"{name} is not in its exec form: {text}")


def check_ini(text: str) -> None:
    """A unit, which names itself in the first line, as systemd reads it; else sections and keys."""
    name = re.match(r"# ([\w@.-]+)\n", text)
    if name and Path(name[1]).suffix in UNIT_KINDS and shutil.which("systemd-analyze"):
        _check_unit(name[1], text)
        return
    # Units say some things more than once, and their keys have capitals.
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), allow_no_value=False)
    parser.read_string(text)
    if not parser.sections():
        raise ValueError("no section")


def _check_unit(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / name
        unit.write_text(text, encoding="utf-8")
        argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
        said = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60).stderr
    wrong = [line for line in said.splitlines() if not _NOT_HERE.search(line)]
    if wrong:
        raise ValueError("\n".join(wrong))


CHECKS: dict[str, Callable[[str], None]] = {
    "dockerfile": check_dockerfile,
    "ini": check_ini,
    "systemd": check_ini,
    "yaml": check_yaml,
}
