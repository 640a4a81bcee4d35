from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plugin_framework.protocol.models import (
    MINIMUM_PART_SIZE,
    DownloadTicket,
    Envelope,
    Heartbeat,
    TaskStatus,
    UploadRequest,
    UploadTicket,
)

urls = st.text(min_size=1, max_size=30)


def ticket(part_upload_urls: Any) -> list[tuple[int, str]]:
    read = UploadTicket.model_validate({"upload_id": "u", "part_upload_urls": part_upload_urls})
    return [(part.index, part.url.get_secret_value()) for part in read.part_upload_urls]


def test_only_the_last_three_statuses_are_final() -> None:
    assert [status for status in TaskStatus if status.is_final] == [3, 4, 5]


@given(st.lists(urls, min_size=1, max_size=20))
def test_strings_are_numbered_in_their_order(given_urls: list[str]) -> None:
    assert ticket(given_urls) == list(enumerate(given_urls, 1))


@given(
    st.lists(urls, min_size=1, max_size=20).flatmap(
        lambda found: st.tuples(st.just(found), st.permutations(range(len(found))))
    )
)
def test_objects_come_in_any_order(found: tuple[list[str], list[int]]) -> None:
    given_urls, order = found
    objects = [{"index": place + 1, "url": given_urls[place], "extra": 1} for place in order]
    assert ticket(objects) == list(enumerate(given_urls, 1))


@given(st.lists(st.integers(-3, 8), max_size=8))
def test_gaps_and_repeats_are_refused(indexes: list[int]) -> None:
    objects = [{"index": index, "url": "https://s/1"} for index in indexes]
    if indexes and sorted(indexes) == list(range(1, len(indexes) + 1)):
        assert len(ticket(objects)) == len(indexes)
    else:
        with pytest.raises(ValidationError):
            ticket(objects)


@pytest.mark.parametrize("wrong", [[], None, "https://s/1", {}, [1], [None], [["https://s/1"]]])
def test_anything_else_is_no_list_of_urls(wrong: object) -> None:
    with pytest.raises(ValidationError):
        ticket(wrong)


@pytest.mark.parametrize(
    "wrong", [{"upload_id": "\ud800"}, {"chunk_size": 2**63}, {"chunk_size": -1}]
)
def test_what_neither_a_request_nor_the_journal_can_hold_is_refused(wrong: dict[str, Any]) -> None:
    right = {"upload_id": "u", "part_upload_urls": ["https://s/1"]}
    assert UploadTicket.model_validate(right).upload_id == "u"
    with pytest.raises(ValidationError):
        UploadTicket.model_validate({**right, **wrong})


def test_urls_do_not_show() -> None:
    read = UploadTicket.model_validate(
        {"upload_id": "u", "part_upload_urls": ["https://s/?canary"]}
    )
    download = DownloadTicket.model_validate({"download_url": "https://s/?canary"})
    with pytest.raises(ValidationError) as caught:
        ticket([{"index": "canary", "url": "https://s/?canary"}])
    assert "canary" not in f"{read!r} {read} {download!r} {download} {caught.value}"


def test_the_two_spellings_of_an_upload() -> None:
    request = UploadRequest(
        subtask_id="s", file_name="f", file_size=1, chunk_size=MINIMUM_PART_SIZE
    )
    assert request.body() == {
        "subtask_id": "s",
        "file_name": "f",
        "file_size": 1,
        "chunk_size": MINIMUM_PART_SIZE,
    }
    assert request.body("joined") == {
        "subtask_id": "s",
        "filename": "f",
        "filesize": 1,
        "chunk_size": MINIMUM_PART_SIZE,
    }


def test_a_chunk_below_the_minimum_is_refused() -> None:
    with pytest.raises(ValidationError):
        UploadRequest(subtask_id="s", file_name="f", file_size=1, chunk_size=MINIMUM_PART_SIZE - 1)


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_heartbeat_beyond_0_to_100_is_refused(percent: int) -> None:
    with pytest.raises(ValidationError):
        Heartbeat(subtask_id="s", timestamp=1, process=percent)


@given(st.dictionaries(st.text(max_size=5).filter(lambda name: name != "code"), st.integers()))
def test_an_object_without_code_is_the_data(answer: dict[str, int]) -> None:
    assert Envelope.of(answer) == Envelope(code=0, msg="", data=answer)
