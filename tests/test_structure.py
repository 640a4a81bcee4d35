"""The budgets that keep the code readable, and the public surface."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import plugin_framework

ROOT = Path(plugin_framework.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
FOLDERS = ("benchmarks", "docs", "example_plugins", "fuzz", "plugin_framework", "release", "tests")
FILE_LIMIT = 500
FUNCTION_LIMIT = 60


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _functions() -> dict[str, int]:
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                name = f"{path.relative_to(ROOT)}:{node.name}"
                found[f"{name}:{node.lineno}"] = node.end_lineno - node.lineno + 1
    return found


def test_no_file_is_over_its_budget() -> None:
    over = {str(path): _lines(path) for path in [*SOURCES, *TESTS] if _lines(path) > FILE_LIMIT}
    assert over == {}


def test_no_function_is_over_its_budget() -> None:
    assert {name: size for name, size in _functions().items() if size > FUNCTION_LIMIT} == {}


def test_functions_are_short() -> None:
    sizes = sorted(_functions().values())
    assert statistics.median(sizes) <= 10
    assert sizes[int(len(sizes) * 0.9)] < 25


def test_no_module_is_named_for_nothing() -> None:
    nothing = {"utils", "types", "constants", "helpers", "managers", "abc", "common", "misc"}
    assert [path for path in SOURCES if path.stem in nothing or path.parent.name in nothing] == []


def test_only_the_settings_read_the_environment() -> None:
    """Others pass it on to child processes, or read what is not ours to configure."""
    pattern = re.compile(r"\bos\.(?:environ|getenv)\b")
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "settings"
        and pattern.search(path.read_text(encoding="utf-8"))
    }
    assert readers == {
        "cli/dev/service.py",
        "cli/doctor/reading.py",
        "cli/serve.py",
        "emulator/server.py",
        "engines/celery/consumer_timeout.py",
        "isolation/remote_forkserver.py",
        "plugin/command.py",
        "testing/conformance/attempt.py",
        "testing/conformance/probe.py",
    }


def test_what_is_ignored_has_its_reason_beside_it() -> None:
    said = re.compile(r"# *(?:noqa|type: *ignore).*")
    noqa = r"#[ ]noqa: [A-Z0-9]+(?:, [A-Z0-9]+)* - \w.*"
    ignored = r"#[ ]type: ignore\[[a-z, -]+\]  "
    reasoned = re.compile(rf"(?:{ignored})?{noqa}|{ignored}# \w.*")
    bare = [
        f"{path.relative_to(ROOT.parent)}:{number}: {found[0]}"
        for folder in FOLDERS
        for path in sorted((ROOT.parent / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := said.search(line)) and not reasoned.fullmatch(found[0])
    ]
    assert bare == []


def test_the_pages_tell_how_imports_point() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    told = " > ".join(f"({layer})" if "|" in layer else layer for layer in layers)
    for page in ("CONTRIBUTING.md", "docs/explanation/architecture.md"):
        text = (ROOT.parent / page).read_text(encoding="utf-8")
        assert f"```text {told} ```" in " ".join(text.split())


def test_the_layout_names_every_package() -> None:
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `plugin_framework/(\w+)/`", text, re.MULTILINE)) == {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }


def test_every_public_name_can_be_had() -> None:
    assert sorted(plugin_framework.__all__) == plugin_framework.__all__
    for name in plugin_framework.__all__:
        assert getattr(plugin_framework, name) is not None
    assert set(dir(plugin_framework)) == set(plugin_framework.__all__)


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "typing"):
            homes.update({alias.name: str(node.module) for alias in node.names})
    homes = {name: home for name, home in homes.items() if name in plugin_framework.__all__}
    assert homes == {**plugin_framework._HOMES, "__version__": "plugin_framework._version"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        plugin_framework.Nonsense  # noqa: B018 - the access is the test


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = (
        "import sys; before = set(sys.modules); import plugin_framework;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('plugin_fr')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    third_party = {"httpx", "apscheduler", "pydantic", "pluggy", "starlette", "pycurl", "click"}
    assert third_party.isdisjoint(loaded)


def test_what_many_machines_need_is_loaded_by_them_alone() -> None:
    """The modules of the commands that run subtasks here; the service makes its engine later."""
    commands = ("run", "serve", "worker", "doctor", "journal")
    modules = [*(f"cli.{name}" for name in commands), "service.server", "engines.local"]
    imports = ", ".join(f"plugin_framework.{name}" for name in modules)
    code = f"import sys, {imports}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    extras = {"amqp", "celery", "cryptography", "kombu", "psycopg", "redis"}
    ours = {"plugin_framework.engines.celery", "plugin_framework.engines.cluster"}
    assert (extras | ours).isdisjoint(loaded)


def test_every_module_and_public_function_says_what_it_is() -> None:
    missing = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert missing == []
