from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import PLUGINS, Ended, call, environment

HEAVY = ("httpx", "apscheduler", "starlette", "uvicorn", "pycurl", "rich", "pydantic_settings")


def install(folder: Path, name: str, source: str, *, target: str = "Plugin") -> None:
    """Install a distribution with one module and one plugin."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[datahub.plugins]\n{name} = {module}:{target}\n")


PLUGIN = '''
print("printed at import")
from plugin_framework import DatahubPlugin
class Plugin(DatahubPlugin):
    """One line.

    And more."""
    resources = {"cpus": 2}
    def on_start(self, ctx): ...
    def process(self, ctx): ...
'''


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    install(tmp_path, "good-one", PLUGIN)
    install(tmp_path, "no-module", "import no_such_module\n")
    install(tmp_path, "raises", "raise RuntimeError('first\\nsecond')\n")
    install(tmp_path, "exits", "raise SystemExit(3)\n")
    install(tmp_path, "no-class", PLUGIN, target="Missing")
    install(tmp_path, "a-function", "def Plugin(): ...\n")
    install(tmp_path, "no-process", PLUGIN.replace("process", "work"))
    install(tmp_path, "misspelt", PLUGIN.replace("on_start", "on_strat"))
    return tmp_path


def test_a_broken_plugin_is_listed_with_its_reason(installed: Path) -> None:
    env = {"PYTHONPATH": environment(PYTHONPATH=str(installed))["PYTHONPATH"]}
    ended = call("list", cwd=installed, env=env)
    assert ended.code == 0
    listed = {line.split()[0]: " ".join(line.split()[1:]) for line in ended.out.splitlines()}
    assert listed["good-one"] == "1.2 One line."
    assert listed["no-module"].startswith("broken: plugin no-module cannot be imported from")
    assert "ModuleNotFoundError: No module named 'no_such_module' (" in listed["no-module"]
    assert listed["raises"].partition(" (")[0].endswith("RuntimeError: first")
    assert listed["exits"].partition(" (")[0].endswith("SystemExit: 3")
    assert "there is no Missing in it; there is no_class:Plugin" in listed["no-class"]
    assert listed["a-function"].endswith("a_function:Plugin is not a DatahubPlugin class")
    assert listed["no-process"].endswith("plugin Plugin has no process(self, ctx)")
    assert listed["misspelt"].endswith("on_strat is not a hook; did you mean on_start?")
    assert "printed at import" not in ended.out
    assert "Traceback" not in ended.err


def test_info_as_json(installed: Path) -> None:
    env = {"PYTHONPATH": environment(PYTHONPATH=str(installed))["PYTHONPATH"]}
    ended = call("info", "good-one", "--json", cwd=installed, env=env)
    assert ended.code == 0
    facts = json.loads(ended.out)
    variables = {variable["variable"]: variable for variable in facts.pop("environment")}
    assert variables["DATAHUB_HEARTBEAT_SECONDS"] == {
        "variable": "DATAHUB_HEARTBEAT_SECONDS",
        "expected": "a number greater than 0 (seconds)",
        "default": "30",
        "meaning": "Seconds between heartbeats.",
        "set": False,
    }
    assert facts.pop("config_schema")["type"] == "object"
    assert facts == {
        "name": "good-one",
        "version": "1.2",
        "description": "One line.",
        "hooks": ["on_start", "process"],
        "isolation": "process",
        "pause_mode": "checkpoint",
        "timeout_seconds": None,
        "resources": {"cpus": 2},
    }
    assert ended.err == "printed at import\n"


def test_info_for_people(tmp_path: Path) -> None:
    ended = call("info", f"{PLUGINS}:Echo", cwd=tmp_path)
    assert ended.code == 0
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] == "name Echo"
    assert "description Copies its input, and prints in every way there is." in lines
    assert 'word string default "none" Word. Comes back in the result' in lines
    assert "pause_mode checkpoint" in lines
    assert "timeout_seconds none (what a whole task may take)" in lines
    assert "resources none (what one task needs, for engines)" in lines
    assert "DATAHUB_HEARTBEAT_SECONDS 30" in lines


def test_info_says_what_is_set_and_not_to_what(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATAHUB_POLL_SECONDS=7\nDATAHUB_TOKEN=\n")
    env = {"DATAHUB_API_SECRET": "canary", "datahub_heartbeat_seconds": "canary"}
    ended = call("info", f"{PLUGINS}:Echo", cwd=tmp_path, env=env)
    _, heading, environment = ended.out.partition("environment (defaults; * is set now")
    assert heading
    set_now = {line.split()[1] for line in environment.splitlines() if line.startswith("* ")}
    assert set_now == {
        "DATAHUB_API_SECRET",
        "DATAHUB_HEARTBEAT_SECONDS",
        "DATAHUB_POLL_SECONDS",
    }
    assert "canary" not in ended.out + ended.err


def test_info_says_the_type_of_what_is_optional(tmp_path: Path) -> None:
    ended = call("info", f"{PLUGINS}:ManyTypes", cwd=tmp_path)
    types = {line.split()[0]: line.partition(" default ")[0].split()[1:] for line in _config(ended)}
    assert types == {
        "number": ["integer"],
        "either": ["integer", "or", "string"],
        "choice": ["string"],
        "inner": ["object"],
        "whatever": ["any"],
    }


def _config(ended: Ended) -> list[str]:
    return ended.out.partition("\nconfig\n")[2].partition("\nenvironment")[0].splitlines()


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ("csv-profil", "no plugin is called 'csv-profil': did you mean csv-profile?"),
        (f"{PLUGINS}:NoSchema", "plugin NoSchema: its Config has no JSON Schema: "),
    ],
)
def test_no_info(plugin: str, problem: str, tmp_path: Path) -> None:
    ended = call("info", plugin, cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert ended.problems[0].startswith(problem)


def test_stdout_is_full(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as stdout:
        ended = call("list", cwd=tmp_path, stdout=stdout)
    assert ended.code == 1
    assert ended.problems == ["stdout cannot be written (No space left on device)"]


# What plugins import themselves is their own affair.
NONE_INSTALLED = "import importlib.metadata; importlib.metadata.entry_points = lambda **_: ()"


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import plugin_framework", (*HEAVY, "pydantic", "click")),
        ("from plugin_framework.cli.app import app; app(['--help'])", (*HEAVY, "pydantic")),
        ("from plugin_framework.cli.app import app; app(['run', '--help'])", (*HEAVY, "pydantic")),
        (f"{NONE_INSTALLED}; from plugin_framework.cli.app import app; app(['list'])", HEAVY),
    ],
)
def test_what_is_not_needed_is_not_imported(statement: str, forbidden: tuple[str, ...]) -> None:
    script = (
        f"import sys\ntry: {statement}\nexcept SystemExit: pass\nsys.stderr.write(*sys.argv[1:])"
    )
    script = script.replace("*sys.argv[1:]", "' '.join(sys.modules)")
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(forbidden) & set(ended.stderr.split()) == set()


def test_help_says_what_there_is(tmp_path: Path) -> None:
    everything = call("--help", cwd=tmp_path)
    assert everything.code == 0
    for word in ("list", "info", "run", "--local FILE --out DIR", "DATAHUB_"):
        assert word in everything.out
    run = call("run", "--help", cwd=tmp_path)
    for code in (0, 1, 2, 4, 69, 75, 130, 143):
        assert f"\n    {code} " in run.out
    for option in ("--subtask-id", "--task-id", "--config", "--set", "--local", "--out"):
        assert option in run.out


def test_the_package_is_the_command(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "plugin_framework", "--help"]
    ended = subprocess.run(
        argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout == call("--help", cwd=tmp_path).out
