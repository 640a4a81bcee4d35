"""The command as a whole."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.cli.doctor import plugins
from plugin_framework.emulator.server import Emulator
from plugin_framework.settings import describe_settings
from tests.cli.calling import COMMAND, PLUGINS, Ended, call, end_of, environment
from tests.cli.doctoring import case_of
from tests.cli.test_info import PLUGIN, install

KEY, SECRET = "key-of-tests", "canary-secret"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(state_dir=tmp_path_factory.mktemp("hub"), key=KEY, secret=SECRET) as emulator:
        yield emulator


def doctor(*arguments: str, cwd: Path, **variables: str) -> Ended:
    own = {"DATAHUB_STATE_DIR": str(cwd / "state"), "HTTPS_PROXY": "", "https_proxy": ""}
    return call("doctor", *arguments, cwd=cwd, env={**own, **variables})


def report(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ended.out)
    return found


def of(found: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [(one["level"], one["message"]) for one in found["findings"] if one["check"] == check]


def test_all_is_well(hub: Emulator, tmp_path: Path) -> None:
    given = {
        "DATAHUB_BASE_URL": hub.url,
        "DATAHUB_API_KEY": KEY,
        "DATAHUB_API_SECRET": SECRET,
        "SSL_CERT_FILE": "",
    }
    ended = doctor(f"{PLUGINS}:Echo", cwd=tmp_path, **given)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "nothing is wrong"
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert f"* DATAHUB_BASE_URL {hub.url} environment" in lines
    assert "* DATAHUB_API_SECRET *** environment" in lines
    assert "DATAHUB_POLL_SECONDS 5 default" in lines
    assert "ok signature the signature is accepted" in lines
    named = f"plugin {PLUGINS}:Echo: Copies its input, and prints in every way there is."
    assert f"ok plugins {named}" in lines
    assert not (tmp_path / "state").exists()


def test_nothing_is_set(tmp_path: Path) -> None:
    ended = doctor("--json", f"{PLUGINS}:Echo", cwd=tmp_path)
    found = report(ended)
    assert (ended.code, ended.err) == (1, "")
    assert found["ok"] is False
    assert found["counts"]["fail"] == 1
    assert of(found, "datahub") == [("fail", "DATAHUB_BASE_URL is not set")]
    assert len(found["settings"]) == len(describe_settings())
    assert {one["level"] for one in found["findings"]} <= {"ok", "warn", "fail", "skip"}
    assert all(one["remedy"] for one in found["findings"] if one["level"] in {"warn", "fail"})
    assert all("\n" not in one["message"] for one in found["findings"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no-such-plugin",), "no plugin is called 'no-such-plugin'"),
        (("--frobnicate",), "No such option"),
    ],
)
def test_usage(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    ended = doctor(*arguments, cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.problems
    assert line.startswith(problem)


def test_an_unknown_name_in_json(tmp_path: Path) -> None:
    ended = doctor("--json", "no-such-plugin", cwd=tmp_path)
    found = report(ended)
    assert (ended.code, ended.err, found["ok"]) == (2, "", False)
    (told,) = [one for one in found["findings"] if "no-such-plugin" in one["message"]]
    assert (told["level"], told["code"]) == ("fail", "DH-120")


def test_plugins_that_are_of_no_use(tmp_path: Path) -> None:
    install(tmp_path, "good-one", PLUGIN)
    install(tmp_path, "kills", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    install(tmp_path, "no-module", "import no_such_module\n")
    install(tmp_path, "leaves", "import os\nos._exit(3)\n")
    install(tmp_path, "tells", "import os\nraise RuntimeError(os.environ['DATAHUB_TOKEN'])\n")
    install(tmp_path, "odd", f"{PLUGIN}    class Config:\n        pass\n")
    _install_extension(tmp_path, "watches", "class Extension: ...\n")
    _install_extension(tmp_path, "fails", "raise RuntimeError('canary')\n")
    env = {"PYTHONPATH": environment(PYTHONPATH=str(tmp_path))["PYTHONPATH"]}
    env["DATAHUB_PLUGIN"] = f"{PLUGINS}:NoSchema"
    ended = doctor("--json", cwd=tmp_path, DATAHUB_TOKEN="canary", **env)
    told = {message: level for level, message in of(report(ended), "plugins")}
    failed = [one for one in report(ended)["findings"] if one["level"] == "fail"]
    assert all(one["remedy"] and one["code"] for one in failed)
    assert ended.code == 1
    (schemaless,) = [one for one in told if "NoSchema: its Config has no JSON Schema: " in one]
    assert told[schemaless] == "fail"
    assert told["plugin good-one 1.2: One line."] == "ok"
    assert told["plugin kills: its import ends Python (SIGSEGV)"] == "fail"
    assert told["plugin leaves: its import ends Python (exit code 3)"] == "fail"
    assert told["extension watches: loads"] == "ok"
    (missing,) = [one for one in told if "no_such_module" in one]
    assert missing.startswith("plugin no-module cannot be imported from no_module:Plugin: ")
    (tells,) = [one for one in told if one.startswith("plugin tells ")]
    assert "KeyError: 'DATAHUB_TOKEN'" in tells
    assert any("its Config is not a PluginConfig" in one for one in told)
    assert any(one.endswith("from fails:Extension: RuntimeError: ***") for one in told)
    assert "printed at import" not in ended.out + ended.err
    assert "canary" not in ended.out + ended.err


WRITES = """
import os
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        os.write(fd, b'{"number": 0}\\nhalf a line')
    except OSError:
        pass
"""
FORKS = "import os\nif os.fork():\n    os._exit(3)\n"
COPIES = f"import os\nos.fork()\n{PLUGIN}"
CLOSES = "import os\nos.closerange(0, 256)\n"


def test_plugins_that_do_as_they_like_hide_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"a-writes": WRITES + PLUGIN, "b-forks": FORKS, "c-copies": COPIES}
    sources |= {"d-closes": CLOSES + PLUGIN, "e-good": PLUGIN}
    for name, source in sources.items():
        install(tmp_path, name, source)
    monkeypatch.syspath_prepend(str(tmp_path))
    case = case_of(monkeypatch, tmp_path, tuple(sources))
    writes, forks, copies, closes, good = list(plugins.plugins(case))[:5]
    assert writes == ("ok", "plugin a-writes 1.2: One line.")
    assert forks[:2] == ("fail", "plugin b-forks: its import ends Python (exit code 3)")
    assert copies == ("ok", "plugin c-copies 1.2: One line.")
    assert closes[:2] == ("fail", "plugin d-closes: its import ends Python (exit code 1)")
    assert all(one[2:] for one in (forks, closes))
    assert good == ("ok", "plugin e-good 1.2: One line.")


@pytest.mark.parametrize(
    ("line", "answer"), [(b'{"number": 0, "er\xff', {}), (b"\xff", {}), (b'{"a": 1}', {"a": 1})]
)
def test_an_answer_that_others_wrote_into(line: bytes, answer: dict[str, Any]) -> None:
    assert plugins._answer(line) == answer


LEAVES = """
import os, pathlib, subprocess
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path(__file__).with_name("left").write_text(str(left.pid))
"""


@pytest.mark.parametrize(
    "then", ["", "os._exit(3)\n", "import threading\nthreading.Event().wait()\n"]
)
def test_what_an_import_leaves_behind_is_ended(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "leaves", LEAVES + then + PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "LOAD_SECONDS", 2.0)
    list(plugins.plugins(case_of(monkeypatch, tmp_path, ("leaves",))))
    assert not Path("/proc", (tmp_path / "left").read_text()).exists()


def test_a_plugin_whose_import_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "a-hanging", "import threading\nthreading.Event().wait()\n")
    install(tmp_path, "b-good", PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "LOAD_SECONDS", 1.0)
    case = case_of(monkeypatch, tmp_path, ("a-hanging", "b-good"))
    hanging, good, *_ = plugins.plugins(case)
    assert hanging[:2] == ("warn", "plugin a-hanging: not imported within 1 s")
    assert good[0] == "ok"


def test_a_stdout_that_is_closed(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["sh", "-c", '"$0" doctor >&-', COMMAND],
        cwd=tmp_path,
        env=environment(DATAHUB_STATE_DIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        ended = end_of(process)
    assert (ended.code, ended.err) == (1, "")


def _install_extension(folder: Path, name: str, source: str) -> None:
    install(folder, name, source)
    points = folder / f"{name}-1.2.dist-info" / "entry_points.txt"
    points.write_text(f"[datahub.extensions]\n{name} = {name}:Extension\n")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "DATAHUB_API_SECRET_PREVIOUS").write_text("canary-previous")
    (secrets / "DATAHUB_TOKEN").write_text("canary token, wrong for its spaces")
    (tmp_path / ".env").write_text(
        "HALF=canary-half\nDATAHUB_API_KEY='canary-key'\nDATAHUB_BROKER_URL=x:canary-broker\n"
        "DATAHUB_API_SECRET='${HALF}-secret'\nDATAHUB_SUBTASK_ID='canary-half-secret'\n"
    )
    given = {
        "DATAHUB_BASE_URL": "https://user:canary-url@127.0.0.1:1",
        "DATAHUB_PROXY": "http://user:canary-proxy@127.0.0.1:1",
        "HTTPS_PROXY": "http://user:canary-env@127.0.0.1:1",
        "DATAHUB_CONFIG": '{"password": "canary-config"}',
        "DATAHUB_SECRETS_DIR": str(secrets),
    }
    for arguments in ((), ("--json",)):
        ended = doctor(*arguments, f"{PLUGINS}:Echo", cwd=tmp_path, **given)
        assert ended.code == 1
        assert "canary" not in ended.out + ended.err
        assert "Traceback" not in ended.err
    found = report(ended)
    places = {one["variable"]: one["source"] for one in found["settings"]}
    assert places["DATAHUB_API_SECRET"] == ".env, line 4"
    assert places["DATAHUB_TOKEN"] == str(secrets / "DATAHUB_TOKEN")
