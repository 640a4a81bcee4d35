"""Calls that go out to services: late, lost, sent twice, badly signed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.emulator import Credentials, Store
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.platform import Platform
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.calling import eventually
from tests.emulator.platform.services import KEY, SECRET, ScriptedService


class Datahub:
    """A platform that drives one service."""

    def __init__(self, store: Store, service: ScriptedService) -> None:
        self.store, self.service, self.chaos = store, service, Chaos()
        self.platform = Platform(store, Credentials(KEY, SECRET), chaos=self.chaos)

    def create(self, *rules: dict[str, Any]) -> str:
        """A subtask, created under these rules and accepted in the end."""
        self.chaos.set({"rules": list(rules)})
        subtask = self.platform.create_task("scripted", {}).subtask_id
        self.service.wait_for(lambda: subtask in self.service.created)
        assert eventually(lambda: self.store.subtask(subtask).dispatch == "accepted")
        return subtask

    def faults(self, subtask: str) -> list[str]:
        return [
            event.detail["fault"] for event in self.store.events(subtask) if event.kind == "fault"
        ]


@pytest.fixture
def datahub(tmp_path: Path) -> Iterator[Datahub]:
    with ScriptedService() as service, closing(Store(tmp_path / "datahub")) as store:
        made = Datahub(store, service)
        with made.platform as platform:
            platform.add_service(service.url)
            yield made


def test_a_call_that_is_lost_is_made_again(datahub: Datahub) -> None:
    subtask = datahub.create({"fault": "drop", "count": 1})
    assert datahub.service.created == [subtask]
    assert datahub.faults(subtask) == ["drop"]


def test_an_answer_that_is_lost_has_the_call_made_again_with_a_signature_of_its_own(
    datahub: Datahub,
) -> None:
    subtask = datahub.create({"fault": "drop", "applied": True, "count": 1})
    assert datahub.service.created == [subtask] * 2
    assert datahub.service.unsigned == []


def test_a_call_sent_twice_is_the_same_to_the_byte(datahub: Datahub) -> None:
    subtask = datahub.create({"fault": "repeat", "call": "create_task"})
    assert datahub.service.created == [subtask]
    assert [path.rpartition("/")[2] for path in datahub.service.unsigned] == ["create_task"]


@pytest.mark.parametrize("at", ["request", "answer"])
def test_a_call_that_is_late(at: str, datahub: Datahub) -> None:
    before = time.monotonic()
    datahub.create({"fault": "delay", "call": "service", "seconds": 0.2, "at": at})
    assert time.monotonic() - before >= 0.2


def test_a_bad_signature_is_refused(datahub: Datahub) -> None:
    datahub.chaos.set({"rules": [{"fault": "bad_signature"}]})
    subtask = datahub.platform.create_task("scripted", {}).subtask_id
    assert eventually(lambda: bool(datahub.service.unsigned))
    assert subtask not in datahub.service.created
    assert eventually(lambda: datahub.store.subtask(subtask).dispatch == "refused")


def test_orders_of_the_subtask_that_is_meant(datahub: Datahub) -> None:
    meant, other = datahub.create(), datahub.create()
    datahub.chaos.set({"rules": [{"fault": "repeat", "call": "manage_task", "subtask": meant}]})
    for subtask in (other, meant):
        datahub.platform.manage(subtask, TaskStatus.CANCELLED)
    orders = {("manage_task", subtask, 4) for subtask in (other, meant)}
    datahub.service.wait_for(lambda: orders <= set(datahub.service.calls))
    assert eventually(lambda: len(datahub.service.unsigned) == 1)
    assert (datahub.faults(meant), datahub.faults(other)) == (["repeat"], [])
