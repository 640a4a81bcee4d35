"""The files to deploy a cluster with fit each other, the settings, and the engine's names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

from plugin_framework.cli.worker import worker_command
from plugin_framework.engines.cluster.resources import Needs, queue_name
from plugin_framework.settings import secret_variables
from tests.docs.markdown import ROOT
from tests.service.deploy.test_files import DEFAULTS, LONGEST_END, exec_form, instruction

FOLDER = ROOT / "docs" / "how-to" / "deploy" / "cluster"
PAGE = FOLDER.parents[1] / "run-on-many-machines.md"
PLUGIN = "my-plugin"
SHARED = {
    "DATAHUB_API_KEY",
    "DATAHUB_API_SECRET",
    "DATAHUB_BROKER_URL",
    "DATAHUB_STORE_URL",
}
Manifests = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    text = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    listed = [(m["kind"], m["metadata"]["name"], m) for m in yaml.safe_load_all(text)]
    found = {(kind, name): manifest for kind, name, manifest in listed}
    assert len(found) == len(listed)
    return found


def pods(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), manifest in manifests.items():
        if kind in {"Deployment", "StatefulSet"}:
            yield name, manifest["spec"]["template"]


def pod(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(pods(manifests))[name]["spec"]
    return found


def environment(pod: dict[str, Any]) -> dict[str, str]:
    entries = pod["containers"][0]["env"]
    return {one["name"]: one.get("value", "") for one in entries}


def longest_end(environment: dict[str, str]) -> float:
    """Of a worker, from SIGTERM: what runs may go on, is then ended as in a service."""
    grace = float(environment["DATAHUB_GRACE_SECONDS"])
    assert grace == float(DEFAULTS["DATAHUB_GRACE_SECONDS"])
    return float(environment["DATAHUB_DRAIN_SECONDS"]) + LONGEST_END


def test_every_grace_period_is_longer_than_the_end_may_take(
    compose: dict[str, Any], manifests: Manifests
) -> None:
    services = compose["services"]
    seconds = {
        name: float(services[name]["stop_grace_period"].removesuffix("s"))
        for name in ("service", "worker")
    }
    assert seconds["service"] > LONGEST_END
    assert seconds["worker"] > longest_end(services["worker"]["environment"])
    worker = pod(manifests, f"{PLUGIN}-worker")
    assert worker["terminationGracePeriodSeconds"] > longest_end(environment(worker))
    assert pod(manifests, PLUGIN)["terminationGracePeriodSeconds"] > LONGEST_END
    said = f"The file says {worker['terminationGracePeriodSeconds']} for 10 and 30"
    assert said in PAGE.read_text(encoding="utf-8")


def test_service_and_workers_are_told_of_the_same_cluster(
    compose: dict[str, Any], manifests: Manifests
) -> None:
    told = [compose["services"][name]["environment"] for name in ("service", "worker")]
    told += [environment(pod(manifests, name)) for name in (PLUGIN, f"{PLUGIN}-worker")]
    assert {one["DATAHUB_ENGINE"] for one in told} == {"celery"}
    assert len({one["DATAHUB_BASE_URL"] for one in told}) == 1
    assert all(one.keys() <= DEFAULTS.keys() for one in told)


def test_secrets_are_files_and_in_no_environment(
    compose: dict[str, Any], manifests: Manifests
) -> None:
    assert secret_variables() >= SHARED
    for name in ("service", "worker"):
        service = compose["services"][name]
        assert set(service["secrets"]) == SHARED <= compose["secrets"].keys()
        assert secret_variables().isdisjoint(service["environment"])
        shown = pod(manifests, PLUGIN if name == "service" else f"{PLUGIN}-{name}")
        assert secret_variables().isdisjoint(environment(shown))
        mounts = {one["name"]: one["mountPath"] for one in shown["containers"][0]["volumeMounts"]}
        assert mounts["secrets"] == environment(shown)["DATAHUB_SECRETS_DIR"]
    page = PAGE.read_text(encoding="utf-8")
    for file in (one["file"] for one in compose["secrets"].values()):
        assert file.rpartition("/")[2] in page
    assert all(f"--from-file={variable}=" in page for variable in SHARED)


def test_the_images_have_what_the_engine_needs(compose: dict[str, Any]) -> None:
    extras = compose["services"]["worker"]["build"]["args"]["EXTRAS"]
    assert {"celery", "postgres"} <= set(extras.split(","))
    dockerfile = (FOLDER.parent / "Dockerfile").read_text(encoding="utf-8")
    assert "ARG EXTRAS=" in dockerfile
    assert "[${EXTRAS}]" in dockerfile
    assert f"EXTRAS={extras}" in PAGE.read_text(encoding="utf-8")


def test_the_workers_commands_are_the_commands_own(
    compose: dict[str, Any], manifests: Manifests
) -> None:
    assert exec_form(instruction("ENTRYPOINT")) == ["datahub-plugin"]
    in_pod = pod(manifests, f"{PLUGIN}-worker")["containers"][0]["args"]
    for name, *arguments in (compose["services"]["worker"]["command"], in_pod):
        assert name == "worker"
        made = worker_command.make_context("worker", arguments)
        assert tuple(made.params["names"]) == (PLUGIN,)


def test_a_worker_offers_what_its_container_may_take(manifests: Manifests) -> None:
    container = pod(manifests, f"{PLUGIN}-worker")["containers"][0]
    args = container["args"]
    given = dict(zip(args[2::2], args[3::2], strict=True))
    assert given["--memory"].removesuffix("B") == container["resources"]["limits"]["memory"]
    assert given["--cpus"] == container["resources"]["requests"]["cpu"]


def test_the_workers_are_scaled_by_their_queue(manifests: Manifests) -> None:
    scaled = manifests["ScaledObject", f"{PLUGIN}-worker"]["spec"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in manifests
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["queueName"] == queue_name(PLUGIN, Needs())
    slots = environment(pod(manifests, f"{PLUGIN}-worker"))["DATAHUB_MAX_CONCURRENCY"]
    assert trigger["metadata"]["value"] == slots
    login = manifests["TriggerAuthentication", trigger["authenticationRef"]["name"]]
    (reference,) = login["spec"]["secretTargetRef"]
    assert f"--from-file={reference['key']}" in PAGE.read_text(encoding="utf-8")


def test_every_selector_finds_pods(manifests: Manifests) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)]
    for (kind, _), manifest in manifests.items():
        spec = manifest.get("spec", {})
        if kind in {"Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment", "StatefulSet"}:
            selector = spec.get("podSelector") or spec["selector"]
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= one.items() for one in labels), (kind, wanted)
        for rule in spec.get("ingress", []):
            for peer in filter(None, (one.get("podSelector") for one in rule["from"])):
                assert sum(peer["matchLabels"].items() <= one.items() for one in labels) == 2


def test_every_volume_and_port_has_its_other_end(manifests: Manifests) -> None:
    for name, template in pods(manifests):
        kind = "Deployment" if ("Deployment", name) in manifests else "StatefulSet"
        claims = manifests[kind, name]["spec"].get("volumeClaimTemplates", [])
        volumes = {one["name"] for one in template["spec"].get("volumes", [])}
        volumes |= {one["metadata"]["name"] for one in claims}
        (container,) = template["spec"]["containers"]
        assert {one["name"] for one in container["volumeMounts"]} == volumes, name
        ports = {one["name"] for one in container.get("ports", [])}
        services = [manifest for key, manifest in manifests.items() if key == ("Service", name)]
        assert {one["targetPort"] for each in services for one in each["spec"]["ports"]} == ports


def test_pods_run_as_a_user_with_few_rights(manifests: Manifests) -> None:
    for name, template in pods(manifests):
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_the_broker_gives_subtasks_more_time_than_it_would(
    compose: dict[str, Any], manifests: Manifests
) -> None:
    texts = [
        compose["configs"]["rabbitmq"]["content"],
        manifests["ConfigMap", f"{PLUGIN}-rabbitmq"]["data"]["30-datahub.conf"],
    ]
    given = [re.findall(r"^consumer_timeout = (\d+)$", text, re.MULTILINE) for text in texts]
    assert given[0] == given[1]
    ((milliseconds,),) = {tuple(one) for one in given}
    assert int(milliseconds) > 30 * 60 * 1000
