"""Why subtasks wait, by what the nodes offer."""

from __future__ import annotations

from plugin_framework.engines.cluster.records import Offer
from plugin_framework.engines.cluster.resources import Needs
from plugin_framework.engines.cluster.waiting import why_waiting
from plugin_framework.errors import Code, Problem
from tests.service.remote import node

GIB = 2**30
SMALL = Needs()
LARGE = Needs(cpus=8, gpus=1, memory=32 * GIB)


def code(reason: str | None) -> Code | None:
    return reason.code if isinstance(reason, Problem) else None


def test_without_nodes_nobody_offers_it() -> None:
    reason = why_waiting("p", SMALL, [])
    assert reason == "no worker offers plugin p: none runs at all"
    assert code(reason) is Code.NO_WORKER


def test_nodes_of_other_plugins_are_no_help() -> None:
    reason = why_waiting("p", SMALL, [node("n-2", "q"), node("n-1", "q")])
    assert reason == "no worker offers plugin p: those that run offer others"
    assert code(reason) is Code.NO_WORKER


def test_what_nobody_has_is_said_beside_the_most_there_is() -> None:
    nodes = [node("small", "p"), node("large", offer=Offer(16, 1, 8 * GIB))]
    reason = why_waiting("p", LARGE, nodes[1:])
    assert code(reason) is Code.NO_RESOURCES
    assert "8 CPUs, 1 GPU, 32 GiB of memory" in str(reason)
    assert str(reason).endswith("the most there is is 16 CPUs, 1 GPU, 8 GiB of memory")
    assert str(why_waiting("p", LARGE, nodes)).endswith("4 CPUs, 8 GiB of memory")


def test_a_node_with_room_that_does_not_offer_it_is_no_help() -> None:
    nodes = [node("n", "q", offer=Offer(16, 2, 64 * GIB))]
    assert code(why_waiting("p", LARGE, nodes)) is Code.NO_WORKER


def test_nodes_that_drain_take_nothing() -> None:
    reason = why_waiting("p", SMALL, [node("n", "p", draining=True)])
    assert reason == "every worker that offers plugin p is shutting down"
    assert code(reason) is Code.NO_WORKER


def test_taken_slots_are_a_reason_but_no_problem() -> None:
    busy = node("n", "p", slots=2, running=("a", "b"))
    reason = why_waiting("p", SMALL, [busy, node("m", "p", slots=1, running=("c",))])
    assert reason == "all slots of the workers are taken, 3 in all"
    assert code(reason) is None


def test_a_free_slot_is_no_reason_to_wait() -> None:
    busy = node("n", "p", slots=2, running=("a", "b"))
    assert why_waiting("p", SMALL, [busy, node("m", "p")]) is None


def test_nodes_that_show_no_life_have_no_slots() -> None:
    reason = why_waiting("p", SMALL, [node("n", "p", slots=0)])
    assert reason == "the workers that offer it show no sign of life just now"
    assert code(reason) is None
