"""What every store does the same, on a real server each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from plugin_framework.engines.cluster.identity import IDENTITY, Identity
from plugin_framework.engines.cluster.records import (
    Ending,
    Kept,
    Lease,
    NodeRecord,
    Offer,
    SharedUpload,
    Sight,
)
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.journal.uploads import KeptPart, Output
from tests.engines.cluster.conftest import OpenStore, taken

DONE = Ending(3, "/result", b'{"rows": 7}', {"status": "completed", "attempt": 1})
FAILED = Ending(5, "/status", b'{"error": "x"}', {"status": "failed"})
UPLOAD = SharedUpload("a.bin", "u1", size=10**15 + 1, chunk=5, part_size=6, sealed_urls="sealed")
OUTPUT = Output("a.bin", 10**15 + 1, "ab12")
PART = KeptPart('"etag"', "digest")
NODE = NodeRecord(
    name="node-1-ab12",
    label="node",
    engine="celery",
    framework="1.0",
    plugins={"p": "2.1"},
    offer=Offer(4, 1, 2**35),
    slots=3,
    running=("s",),
    draining=False,
    started=1.5,
    beats=7,
    clock=-0.25,
    ended={"completed": 2},
)
ODD = ("'; DROP TABLE leases; --", "50 %s of :now {settled}", 'q"\\', "Ω 数", "a\nb", "-1", "")


# Rows


def test_a_subtask_is_opened_and_handed_over_once(store: LeaseStore) -> None:
    assert store.open("service", ["s", "t"]) == set()
    store.handed(["s", "unknown"])
    assert store.open("service", ["s", "t"]) == {"s"}
    assert store.look("s") == Sight(0, 0, "", held=False)
    assert store.look("unknown") is None


def test_very_many_are_opened(store: LeaseStore) -> None:
    many = [f"s{number}" for number in range(10_000)]
    store.open("service", many)
    store.handed(many)
    assert store.open("service", many) == set(many)
    store.noticed(many)
    assert store.held("service") == {}


def test_nothing_is_asked_of_none(store: LeaseStore) -> None:
    assert store.open("service", []) == set()
    store.handed([])
    store.noticed([])
    assert store.renew([]) == set()


def test_a_subtask_whose_ending_was_noticed_begins_anew_but_for_its_number(
    store: LeaseStore,
) -> None:
    store.open("service", ["s"])
    store.handed(["s"])
    first = taken(store)
    store.save_state(first, {"line": 7})
    store.begin_upload(first, UPLOAD)
    store.complete_upload(first, OUTPUT, "u1")
    store.end(first, DONE)
    store.noticed(["s"])  # too early: it may yet be delivered by another
    assert store.open("service", ["s"]) == {"s"}
    assert store.ending("s") == DONE
    store.settle("s", "delivered")
    store.noticed(["s"])
    assert store.open("service", ["s"]) == set()
    assert store.ending("s") is None
    assert store.ended("service") == []
    assert store.renew([first]) == set()
    assert store.prune(time.time() + 60) == 0
    again = taken(store, node="two")
    assert (again.number, again.losses) == (2, 0)
    assert store.load(again) == Kept()


def test_a_store_that_lost_its_memory_gets_its_rows_from_who_comes(store: LeaseStore) -> None:
    lease = taken(store)
    store.end(lease, DONE)
    store.settle("s", "delivered")
    assert store.ended("service") == []
    assert store.open("service", ["s"]) == set()
    assert [subtask for subtask, _ in store.ended("service")] == ["s"]


# Endings


def test_the_first_ending_stands(store: LeaseStore) -> None:
    first = taken(store)
    assert store.ending("s") is None
    assert store.end(first, DONE) == DONE
    assert store.end(first, FAILED) == DONE
    second = taken(store, node="two")
    assert store.end(second, FAILED) == DONE
    assert store.end_unheld("s", FAILED) is None
    assert store.ending("s") == DONE


def test_of_two_endings_at_once_both_are_told_the_same(open_one: OpenStore) -> None:
    stores = [open_one() for _ in range(2)]
    for number in range(50):
        start = Barrier(2)
        subtask = f"s{number}"

        def end(one: tuple[LeaseStore, Ending]) -> Ending | None:
            start.wait()  # noqa: B023 - used up before the next is made
            return one[0].end_unheld(subtask, one[1])  # noqa: B023 - as above

        with ThreadPoolExecutor() as pool:
            told = set(map(repr, pool.map(end, zip(stores, (DONE, FAILED), strict=True))))
        assert told == {repr(stores[0].ending(subtask))}


def test_what_nobody_holds_is_ended_from_outside(store: LeaseStore) -> None:
    cancelled = replace(FAILED, status=4, fate="delivered")
    assert store.end_unheld("never seen", cancelled) == cancelled
    store.open("service", ["s"])
    lease = taken(store)
    assert store.end_unheld("s", cancelled) is None
    store.release(lease)
    assert store.end_unheld("s", cancelled) == cancelled
    assert store.ended("service") == [("s", cancelled)]


def test_the_service_hears_of_each_ending_until_it_has_noticed(store: LeaseStore) -> None:
    store.open("service", ["s", "t", "waits"])
    store.open("another", ["u"])
    for subtask in ("s", "t", "u"):
        store.end(taken(store, subtask), DONE)
    assert store.ended("service") == []
    assert store.held("service") == dict.fromkeys(("s", "t"), Sight(1, 0, "one", held=True))
    store.settle("t", "refused")
    store.settle("s", "delivered")
    expected = [("t", replace(DONE, fate="refused")), ("s", replace(DONE, fate="delivered"))]
    assert store.ended("service") == expected
    assert store.held("service") == {}
    store.noticed(["s"])
    assert store.ended("service") == expected[:1]
    store.settle("waits", "delivered")
    assert store.ending("waits") is None


def test_what_was_acknowledged_is_not_refused_later(store: LeaseStore) -> None:
    store.end(taken(store), DONE)
    for told, stands in (("refused", "refused"), ("delivered",) * 2, ("refused", "delivered")):
        store.settle("s", told)  # type: ignore[arg-type]  # mypy takes them for any text
        assert store.ending("s") == replace(DONE, fate=stands)  # type: ignore[arg-type]  # as above


def test_endings_are_told_by_a_few_the_oldest_first(store: LeaseStore) -> None:
    subtasks = [f"s{number}" for number in range(250)]
    store.open("service", subtasks)
    for subtask in subtasks:
        store.end_unheld(subtask, replace(DONE, fate="delivered"))
    told = [subtask for subtask, _ in store.ended("service")]
    assert told == subtasks[:200]
    store.noticed(told)
    assert [subtask for subtask, _ in store.ended("service")] == subtasks[200:]


def test_a_lease_outlives_the_ending(store: LeaseStore) -> None:
    """Until it is given back: who is about to do that has not lost it."""
    lease = taken(store)
    store.end(lease, DONE)
    store.settle("s", "delivered")
    assert store.renew([lease]) == {"s"}


# What travels


def test_saved_state_and_uploads_go_on_elsewhere(open_one: OpenStore) -> None:
    store = open_one()
    first = taken(store)
    assert store.load(first) == Kept()
    state = {"text": "\ud800\x00 Ω", "number": 10**30, "list": [1.5, None, True]}
    store.save_state(first, state)
    store.begin_upload(first, UPLOAD)
    store.keep_part(first, "a.bin", "u1", 1, PART)
    store.keep_part(first, "a.bin", "u1", 12, PART)
    store.keep_part(first, "a.bin", "another", 2, PART)
    elsewhere = open_one()
    found = elsewhere.load(taken(elsewhere, node="two"))
    assert found == Kept(state, (replace(UPLOAD, parts={1: PART, 12: PART}),), ())


def test_an_upload_takes_the_place_of_another_and_keeps_the_parts_of_its_own(
    store: LeaseStore,
) -> None:
    lease = taken(store)
    store.begin_upload(lease, UPLOAD)
    store.begin_upload(lease, replace(UPLOAD, name="b.bin"))
    store.keep_part(lease, "a.bin", "u1", 1, PART)
    renewed = replace(UPLOAD, sealed_urls="others", size=11)
    store.begin_upload(lease, renewed)
    uploads = store.load(lease).uploads
    assert uploads == (replace(renewed, parts={1: PART}), replace(UPLOAD, name="b.bin"))
    store.begin_upload(lease, replace(UPLOAD, upload_id="u2"))
    assert store.load(lease).uploads[0] == replace(UPLOAD, upload_id="u2")


def test_a_complete_upload_is_an_output_without_urls(store: LeaseStore) -> None:
    lease = taken(store)
    store.begin_upload(lease, UPLOAD)
    store.keep_part(lease, "a.bin", "u1", 1, PART)
    store.complete_upload(lease, Output("b.bin", 0, None), "u9")
    store.complete_upload(lease, OUTPUT, "another")
    assert store.load(lease).uploads == (replace(UPLOAD, parts={1: PART}),)
    store.complete_upload(lease, OUTPUT, "u1")
    found = store.load(lease)
    assert found.uploads == (replace(UPLOAD, parts={1: PART}, sealed_urls="", completed=True),)
    assert found.outputs == (OUTPUT, Output("b.bin", 0, None))
    store.end(lease, DONE)
    store.settle("s", "delivered")
    assert store.load(lease).uploads == ()


@pytest.mark.parametrize("odd", ODD)
def test_any_text_goes_through(store: LeaseStore, odd: str) -> None:
    service = odd or "service"  # what has none is a stranger's
    store.open(service, [odd])
    store.handed([odd])
    lease = taken(store, odd, odd)
    store.save_state(lease, {odd: odd})
    upload = replace(UPLOAD, name=odd, upload_id=odd, sealed_urls=odd, parts={1: PART})
    store.begin_upload(lease, upload)
    store.keep_part(lease, odd, odd, 1, PART)
    assert store.load(lease) == Kept({odd: odd}, (upload,), ())
    ending = Ending(5, odd, odd.encode(), {"error": odd})
    assert store.end(lease, ending) == ending
    store.settle(odd, "refused")
    assert store.ended(service) == [(odd, replace(ending, fate="refused"))]
    store.learn(odd, odd)
    assert store.known(odd) == odd
    assert taken(store, "other").number == 1


def test_the_largest_result_there_is_goes_through(store: LeaseStore) -> None:
    large = replace(DONE, body=b'"' * (8 * 2**20), outcome={"result": "'" * (8 * 2**20)})
    assert store.end(taken(store), large) == large
    assert store.ending("s") == large


# Nodes and facts


def test_nodes_tell_of_themselves_and_hear_the_stores_clock(store: LeaseStore) -> None:
    before = time.time()
    clock = store.beat(NODE)
    assert before - 1 <= clock <= time.time() + 1
    store.beat(replace(NODE, beats=8, running=()))
    store.beat(replace(NODE, name="another"))
    assert store.nodes() == [replace(NODE, name="another"), replace(NODE, beats=8, running=())]
    store.leave("another")
    store.leave("unknown")
    assert [node.name for node in store.nodes()] == [NODE.name]


def test_what_was_learnt_is_known_to_all(open_one: OpenStore) -> None:
    store = open_one()
    assert store.known("consumer_timeout") is None
    store.learn("consumer_timeout", {"ms": 20_000})
    store.learn("consumer_timeout", 20_000)
    assert open_one().known("consumer_timeout") == 20_000


def test_what_is_learnt_first_stays(open_one: OpenStore) -> None:
    one, other = open_one(), open_one()
    assert one.learn_first("identity", "a") == "a"
    assert other.learn_first("identity", "b") == "a"
    assert other.known("identity") == "a"


def test_all_services_of_a_store_know_its_identity(store: LeaseStore) -> None:
    service, later = Identity(), Identity()
    known = service.of(store)
    assert later.of(store) == known == service.of(store)
    store.learn(IDENTITY, "of another service, which was faster")
    assert service.of(store) != known


def test_what_is_over_and_noticed_is_removed_in_time(store: LeaseStore) -> None:
    store.open("service", ["waits", "runs", "ended", "settled", "noticed"])
    store.beat(NODE)
    for subtask in ("runs", "ended", "settled", "noticed"):
        lease = taken(store, subtask)
        store.complete_upload(lease, OUTPUT, "u1")
    for subtask in ("ended", "settled", "noticed"):
        store.end(Lease(subtask, 1, "one"), DONE)
    for subtask in ("settled", "noticed"):
        store.settle(subtask, "delivered")
    store.noticed(["noticed"])
    assert store.prune(time.time() - 60) == 0
    assert store.nodes() == [NODE]
    assert store.prune(time.time() + 60) == 1
    assert store.look("noticed") is None
    assert None not in [store.look(one) for one in ("waits", "runs", "ended", "settled")]
    assert store.nodes() == []


def test_what_no_service_has_opened_is_removed_in_time(store: LeaseStore) -> None:
    for subtask in ("runs", "ended", "settled", "opened"):
        lease = taken(store, subtask)
        if subtask != "runs":
            store.end(lease, DONE)
    for subtask in ("settled", "opened"):
        store.settle(subtask, "refused")
    store.open("service", ["opened"])
    assert store.prune(time.time() - 60) == 0
    assert store.prune(time.time() + 60) == 1
    assert store.look("settled") is None
    assert [subtask for subtask, _ in store.ended("service")] == ["opened"]
    assert None not in [store.look(one) for one in ("runs", "ended", "opened")]


def test_much_is_done_by_a_few_at_a_time(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sql_store", "redis"):
        monkeypatch.setattr(f"plugin_framework.engines.cluster.{module}.MOST_AT_ONCE", 10)
    subtasks = [f"s{number}" for number in range(50)]
    store.open("service", subtasks)
    for subtask in subtasks[::2]:
        store.end_unheld(subtask, replace(DONE, fate="delivered"))
    store.noticed(subtasks[::2])
    assert store.prune(time.time() + 60) == 25
    assert {one for one in subtasks if store.look(one)} == set(subtasks[1::2])


def test_it_says_what_it_promises(store: LeaseStore) -> None:
    assert "\n" not in store.guarantee
    assert store.doubts() == []
