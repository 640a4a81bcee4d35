"""What a subtask needs and what a machine offers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.engines.cluster.records import Offer
from plugin_framework.engines.cluster.resources import (
    GIB,
    Needs,
    common_slots,
    described,
    machine_offer,
    queue_name,
)
from plugin_framework.errors import Code, ConfigurationError

NEEDS = st.builds(
    Needs, st.sampled_from([0, 0.5, 1, 4]), st.integers(0, 4), st.integers(0, 8 * GIB)
)
OFFERS = st.builds(Offer, st.integers(0, 64), st.integers(0, 8), st.integers(0, 64 * GIB))


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ({}, "c1"),
        ({"cpus": 1}, "c1"),
        ({"cpus": 4, "gpus": 1, "memory": "32GiB"}, "c4-g1-m32g"),
        ({"gpus": 2}, "c1-g2"),
        ({"cpus": 0.5}, "c0.5"),
        ({"memory": "1MB"}, "c1-m1g"),
        ({"memory": 2 * GIB + 1}, "c1-m3g"),
    ],
)
def test_a_resource_class_has_one_name(resources: dict[str, Any], name: str) -> None:
    assert Needs.of(resources).class_name == name


def test_a_queue_is_of_a_plugin_and_a_class() -> None:
    assert queue_name("word-count", Needs()) == "datahub.word-count.c1"
    assert queue_name("a.b c", Needs(gpus=1)) == "datahub.a.b%20c.c1-g1"


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"cpu": 1}, "did you mean 'cpus'?"),
        ({"disk": 1}, "there are cpus, gpus and memory"),
        ({"cpus": "many"}, "expected a number of 0 or more"),
        ({"cpus": -1}, "expected a number of 0 or more"),
        ({"cpus": float("nan")}, "expected a number of 0 or more"),
        ({"gpus": 0.5}, "expected a whole number of 0 or more"),
        ({"gpus": True}, "expected a whole number of 0 or more"),
        ({"memory": "lots"}, "expected a size such as 2GiB"),
        ({"memory": -1}, "expected a size such as 2GiB"),
        ({"memory": "1e999"}, "expected a size such as 2GiB"),
    ],
)
def test_what_is_no_resource_is_told(resources: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Needs.of(resources, "word-count")
    (problem,) = raised.value.problems
    assert problem == f"plugin word-count: resources {next(iter(resources))!r}: {told}"
    assert problem.code is Code.PLUGIN_UNUSABLE


@given(st.lists(NEEDS, min_size=1, max_size=3), OFFERS, st.integers(1, 16))
def test_as_many_run_as_fit_whichever_they_are(needs: list[Needs], offer: Offer, most: int) -> None:
    slots = common_slots(needs, offer, most)
    assert 0 <= slots <= most
    for each in needs:
        assert slots * each.cpus <= offer.cpus
        assert slots * each.gpus <= offer.gpus
        assert slots * each.memory <= offer.memory
        assert each.fit(offer) or slots == 0
    if slots < most:
        more = slots + 1
        assert any(
            more * each.cpus > offer.cpus
            or more * each.gpus > offer.gpus
            or more * each.memory > offer.memory
            for each in needs
        )


def test_what_is_not_said_limits_nothing() -> None:
    assert common_slots([Needs()], Offer(1, 0, 0), 8) == 8
    assert common_slots([], Offer(1, 0, 0), 8) == 0


def test_a_machine_offers_what_it_has_unless_it_is_told() -> None:
    here = machine_offer()
    assert here.cpus >= 1
    assert here.gpus == 0
    assert here.memory > GIB // 4
    assert machine_offer(2, 1, GIB) == Offer(2, 1, GIB)


def test_they_are_written_for_people() -> None:
    assert str(Needs(4, 1, 32 * GIB)) == "4 CPUs, 1 GPU, 32 GiB of memory"
    assert str(Needs()) == "nothing in particular"
    assert described(Offer(1, 2, GIB // 2)) == "1 CPU, 2 GPUs, 512 MiB of memory"
    assert described(Offer(0, 0, 0)) == "nothing"


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (1000, "1000 B"),
        (1536, "1.5 KiB"),
        (31 * GIB + GIB // 4, "31.25 GiB"),
        (1000 * GIB, "1000 GiB"),
        (1024 * GIB - 1, "1024 GiB"),
        (1024 * GIB, "1 TiB"),
        (3 * 1024**3 * GIB, "3 EiB"),
    ],
)
def test_memory_is_written_in_its_own_unit(size: int, written: str) -> None:
    assert str(Needs(memory=size)) == f"{written} of memory"
