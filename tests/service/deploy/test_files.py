"""The files to deploy with fit each other, the settings, and what the service answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS
from plugin_framework.service.server import CLOSE_SECONDS, REPORT_SECONDS
from plugin_framework.settings import describe_settings
from tests.docs.markdown import ROOT
from tests.service.calling import Caller, ServiceProcess

FOLDER = ROOT / "docs" / "how-to" / "deploy"
DEFAULTS = {setting.variable: setting.default for setting in describe_settings()}
GRACE_SECONDS = float(DEFAULTS["DATAHUB_GRACE_SECONDS"])
# What the service may take from SIGTERM to its end: the subtasks, the reports, the answers.
LONGEST_END = GRACE_SECONDS + 2 * TERM_TO_KILL_SECONDS + REPORT_SECONDS + 2 * CLOSE_SECONDS


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, of its last stage."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    split = [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]
    last = max(at for at, (word, _) in enumerate(split) if word == "FROM")
    return split[last:]


def instruction(name: str) -> str:
    (found,) = [rest for word, rest in instructions() if word == name]
    return found


def exec_form(argument: str) -> list[str]:
    argv = json.loads(argument)
    assert all(isinstance(word, str) for word in argv)
    return list(argv)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    text = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = manifests["StatefulSet"]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """What the unit sets, in order, by name: some are set more than once."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / "my-plugin.service").read_text(encoding="utf-8").splitlines():
        name, is_set, value = line.partition("=")
        if is_set and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}


def test_the_image_runs_the_service_as_its_first_process() -> None:
    assert exec_form(instruction("ENTRYPOINT")) == ["datahub-plugin"]
    assert exec_form(instruction("CMD"))[0] == "serve"
    assert instruction("STOPSIGNAL") == "SIGTERM"


def test_the_image_has_a_user_who_is_not_root(pod: dict[str, Any]) -> None:
    uid, gid = map(int, instruction("USER").split(":"))
    assert 0 not in {uid, gid}
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (uid, gid, gid)
    assert f"--uid {uid}" in instruction("RUN")


def test_every_grace_period_is_longer_than_the_end_may_take(
    compose: dict[str, Any], pod: dict[str, Any]
) -> None:
    stop = compose["services"]["plugin"]["stop_grace_period"]
    assert float(stop.removesuffix("s")) > LONGEST_END
    assert pod["terminationGracePeriodSeconds"] > LONGEST_END > GRACE_SECONDS + 2
    assert float(environment(pod)["DATAHUB_GRACE_SECONDS"]) == GRACE_SECONDS
    named = compose["services"]["plugin"]["environment"]["DATAHUB_GRACE_SECONDS"]
    assert float(named) == GRACE_SECONDS


def test_the_unit_lets_the_service_end_its_plugins(unit: dict[str, list[str]]) -> None:
    assert float(unit["TimeoutStopSec"][0]) > LONGEST_END
    assert f"DATAHUB_GRACE_SECONDS={GRACE_SECONDS:.0f}" in unit["Environment"]
    assert (unit["KillMode"], unit["KillSignal"]) == (["mixed"], ["SIGTERM"])


def test_the_unit_keeps_state_and_hands_over_secrets(unit: dict[str, list[str]]) -> None:
    assert f"DATAHUB_STATE_DIR=%S/{unit['StateDirectory'][0]}" in unit["Environment"]
    credentials = {value.partition(":")[0] for value in unit["LoadCredential"]}
    assert credentials == {"DATAHUB_API_KEY", "DATAHUB_API_SECRET"}
    assert "DATAHUB_SECRETS_DIR=%d" in unit["Environment"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (FOLDER / "my-plugin.service").read_text(encoding="utf-8")
    here = tmp_path / "my-plugin.service"
    here.write_text(text.replace("/opt/my-plugin/bin/datahub-plugin", sys.executable), "utf-8")
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(here)]
    said = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert (said.stderr, said.returncode) == ("", 0)


def test_the_page_says_how_much_longer_that_is() -> None:
    page = (FOLDER.parent / "deploy.md").read_text(encoding="utf-8")
    assert f"by {LONGEST_END - GRACE_SECONDS:.0f} seconds" in page
    assert f"at least {LONGEST_END:.0f};" in page


def test_every_variable_is_one_of_the_settings(
    compose: dict[str, Any], pod: dict[str, Any]
) -> None:
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*") if path.is_file()]
    named = {name for text in texts for name in re.findall(r"\bDATAHUB_[A-Z_]+\b", text)}
    assert named <= DEFAULTS.keys()
    plain = {**environment(pod), **compose["services"]["plugin"]["environment"]}
    assert {"DATAHUB_API_KEY", "DATAHUB_API_SECRET", "DATAHUB_TOKEN"}.isdisjoint(plain)
    assert set(compose["services"]["plugin"]["secrets"]) == compose["secrets"].keys()


def test_the_state_is_on_a_volume(compose: dict[str, Any], pod: dict[str, Any]) -> None:
    state = re.findall(r"DATAHUB_STATE_DIR=(\S+)", instruction("ENV"))
    assert [instruction("VOLUME")] == state
    assert f"state:{state[0]}" in compose["services"]["plugin"]["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["state"] == state[0]
    assert mounts["secrets"] == environment(pod)["DATAHUB_SECRETS_DIR"]


def test_the_ports_are_the_same(
    compose: dict[str, Any], pod: dict[str, Any], manifests: dict[str, dict[str, Any]]
) -> None:
    argv = exec_form(instruction("CMD"))
    port = argv[argv.index("--port") + 1]
    assert instruction("EXPOSE") == port
    assert compose["services"]["plugin"]["ports"][0].endswith(f":{port}")
    (open_port,) = pod["containers"][0]["ports"]
    assert open_port["containerPort"] == int(port)
    (public,) = manifests["Service"]["spec"]["ports"]
    assert public["targetPort"] == open_port["name"]


def test_the_service_is_found_by_its_labels(manifests: dict[str, dict[str, Any]]) -> None:
    spec = manifests["StatefulSet"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == manifests["Service"]["spec"]["selector"]
    claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {mount["name"] for mount in mounts} == claims | volumes


def test_the_probes_ask_what_the_service_answers(
    pod: dict[str, Any], service: ServiceProcess
) -> None:
    container = pod["containers"][0]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness")}
    probes["liveness"] = container["livenessProbe"]["httpGet"]
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}
    unsigned = Caller(service.url, secret=None)
    for probe in probes.values():
        assert unsigned.get(probe["path"]).status == 200
    assert probes["readiness"]["path"] != probes["liveness"]["path"]


def test_the_health_check_is_a_program_that_says_yes_and_no(
    service: ServiceProcess, tmp_path: Path
) -> None:
    options, command, argv = instruction("HEALTHCHECK").partition("CMD ")
    assert command
    assert "--start-period" in options
    python, flag, code = exec_form(argv)
    assert (python, flag) == ("python", "-c")
    here = code.replace("http://127.0.0.1:8080", service.url)
    assert here != code
    assert subprocess.run([sys.executable, "-c", here], check=False).returncode == 0
    nobody = code.replace("127.0.0.1:8080", "127.0.0.1:1")
    ended = subprocess.run([sys.executable, "-c", nobody], check=False, capture_output=True)
    assert ended.returncode == 1
