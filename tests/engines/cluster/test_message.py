"""What travels through the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.engines.cluster.message import Message, message_id
from plugin_framework.engines.remote import Handed
from plugin_framework.protocol.models import ID_LIMIT, ID_PATTERN

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
IDS = st.from_regex(ID_PATTERN, fullmatch=True).filter(lambda text: len(text) <= ID_LIMIT)
FIELDS = Message("subtask-1", None, "word-count", {"a": 1}).as_json()


@given(IDS, st.none() | IDS, st.dictionaries(st.text(), JSON), st.integers(1))
def test_it_arrives_as_it_was_handed_over(
    subtask_id: str, task_id: str | None, config: dict[str, Any], attempt: int
) -> None:
    handed = Handed(subtask_id, task_id, "word-count", json.dumps(config), attempt)
    arrived = Message.read(json.loads(json.dumps(Message.of(handed).as_json())))
    assert arrived == Message(subtask_id, task_id, "word-count", config, attempt)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"v": 2}, "its version is 2, and not 1"),
        ({"subtask_id": None}, "its subtask_id is a NoneType"),
        ({"subtask_id": ""}, "its subtask_id is no id"),
        ({"subtask_id": "a\x00b"}, "its subtask_id is no id"),
        ({"subtask_id": "../a"}, "its subtask_id is no id"),
        ({"subtask_id": "a\ud800"}, "its subtask_id is no id"),
        ({"subtask_id": "a" * 201}, "its subtask_id is no id"),
        ({"task_id": "a\n"}, "its task_id is no id"),
        ({"task_id": 3}, "its task_id is a int"),
        ({"config": "{}"}, "its config is a str"),
        ({"attempt": True}, "its attempt is a bool"),
        ({"secret": "s3cret"}, "there is more in it than is known: secret"),
    ],
)
def test_what_is_no_message_of_ours_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        Message.read({**FIELDS, **changes})


@pytest.mark.parametrize("missing", FIELDS)
def test_nothing_may_be_missing(missing: str) -> None:
    with pytest.raises(ValueError, match=missing if missing != "v" else "version"):
        Message.read({name: value for name, value in FIELDS.items() if name != missing})


def test_a_config_is_not_shown() -> None:
    assert "hidden" not in repr(Message("subtask-1", None, "word-count", {"a": "hidden"}))


def test_the_id_is_the_subtasks() -> None:
    assert message_id("subtask-1") == message_id("subtask-1") != message_id("subtask-2")
