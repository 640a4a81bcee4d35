"""``doctor`` before a real broker: what passes, what does not, and that nothing is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.cli.doctor import cluster
from plugin_framework.cli.doctor.examine import examine
from plugin_framework.cli.doctor.finding import Finding
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.engines.celery.queues import declare
from tests.cli.doctoring import case_of
from tests.cluster.rabbitmq import RabbitMQ

PLUGIN = '''
from plugin_framework import DatahubPlugin


class Slow(DatahubPlugin):
    """Takes a minute at most."""

    timeout_seconds = 60

    def process(self, ctx):
        return {}


class Endless(Slow):
    """Takes as long as it takes."""

    timeout_seconds = None
'''
QUEUE = "datahub.Slow.c1"


class Doctor:
    """Asks about a plugin, and a virtual host that nobody else uses."""

    def __init__(
        self, broker: RabbitMQ, vhost: str, folder: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self._broker, self._vhost, self._folder, self._patch = broker, vhost, folder, patch
        (folder / "slow_plugins.py").write_text(PLUGIN)
        patch.syspath_prepend(str(folder))

    def say(self, plugin: str = "Slow", *, url: str = "", **settings: object) -> dict[str, Finding]:
        """The finding of each check of the broker."""
        url = url or self._broker.url(self._vhost)
        given = {"ENGINE": "celery", "BROKER_URL": url, **settings}
        case = case_of(self._patch, self._folder, (f"slow_plugins:{plugin}",), **given)
        found = examine(case, cluster.checks(case.settings))
        return {one.check: one for one in found if one.check != "nodes"}

    def queues(self) -> list[str]:
        return list(self._broker.depths(self._vhost))

    def declare(self, *, kind: str) -> None:
        case = case_of(self._patch, self._folder, BROKER_URL=self._broker.url(self._vhost))
        connection = Broker(case.settings).connect("test")
        if kind == "quorum":
            declare(connection, QUEUE)
        else:
            connection.channel().queue_declare(QUEUE, durable=True, auto_delete=False)
        connection.close()


@pytest.fixture
def doctor(
    broker: RabbitMQ, vhosts: Iterator[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    return Doctor(broker, next(vhosts), tmp_path, monkeypatch)


def test_all_is_well_and_nothing_is_made(doctor: Doctor) -> None:
    said = doctor.say()
    assert {name: one.level for name, one in said.items()} == dict.fromkeys(
        ("broker", "store", "queues", "timeout"), "ok"
    )
    assert said["broker"].message.startswith("RabbitMQ 3.")
    assert said["queues"].message == f"{QUEUE} is not there yet"
    assert doctor.queues() == []
    doctor.declare(kind="quorum")
    assert doctor.say()["queues"].message == f"{QUEUE} is a quorum queue"


def test_a_queue_of_another_kind(doctor: Doctor) -> None:
    doctor.declare(kind="classic")
    one = doctor.say()["queues"]
    assert (one.level, one.code) == ("fail", "DH-606")
    assert QUEUE in one.message
    assert one.remedy


@pytest.mark.parametrize(
    ("user", "password", "vhost", "code"),
    [
        ("tester", "canary-password", "", "DH-602"),
        ("tester", "", "no-such", "DH-603"),
        ("nobody", "", "", "DH-603"),
    ],
)
def test_it_does_not_let_us_in(
    doctor: Doctor, broker: RabbitMQ, user: str, password: str, vhost: str, code: str
) -> None:
    chosen = {"password": password} if password else {}
    one = doctor.say(url=broker.url(vhost or "test-0", user=user, **chosen))["broker"]
    assert (one.level, one.code) == ("fail", code)
    assert one.remedy
    assert "canary-password" not in one.message


@pytest.mark.parametrize("plugin", ["Slow", "Endless"])
def test_a_consumer_timeout_that_is_too_short(doctor: Doctor, plugin: str) -> None:
    one = doctor.say(plugin, CONSUMER_TIMEOUT=20)["timeout"]
    assert (one.level, one.code) == ("fail", "DH-605")
    assert "20 s" in one.message
    assert one.remedy


def test_a_plugin_without_a_limit(doctor: Doctor) -> None:
    one = doctor.say("Endless")["timeout"]
    assert (one.level, one.code) == ("warn", "DH-605")
    assert "1800 s" in one.message
    assert "timeout_seconds" in str(one.remedy)
    assert doctor.say("Endless", TIMEOUT_SECONDS=60)["timeout"].level == "ok"
    assert doctor.say("Endless", CONSUMER_TIMEOUT=0)["timeout"].level == "ok"
    limited = doctor.say("Slow")["timeout"].message
    assert limited.startswith("Slow may run 60 s, and RabbitMQ takes a subtask away after 1800 s")
