"""What travels through the queue: which subtask is to be run, and never a secret."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from plugin_framework.engines.remote import Handed
from plugin_framework.protocol.models import ID_LIMIT, ID_PATTERN

VERSION = 1
LIMIT = 1024 * 1024
"""Bytes of JSON that a message may take."""

_IDS = uuid.UUID("6a1f3a0e-6f0c-5f7e-9a35-3c5d1f2b8e44")


@dataclass(frozen=True, slots=True)
class Message:
    """A subtask to run; ``attempt`` is the number that its attempt is likely to have, for people.

    ``store`` is the identity of the store that the service has for it.
    What it is to do is the ``config``, plain JSON. All else is asked of Datahub and of the store.
    """

    subtask_id: str
    task_id: str | None
    plugin: str
    config: Mapping[str, Any] = field(repr=False)
    attempt: int = 1
    store: str = ""

    @classmethod
    def of(cls, handed: Handed) -> Self:
        """The message of a subtask that is handed over."""
        config = json.loads(handed.config)
        return cls(
            handed.subtask_id, handed.task_id, handed.plugin, config, handed.attempt, handed.store
        )

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """What ``as_json`` made.

        Raises:
            ValueError: it is something else, or of another version; with one line on what.
        """
        if given.get("v") != VERSION:
            raise ValueError(f"its version is {given.get('v')!r:.40}, and not {VERSION}")
        kinds: dict[str, Any] = {
            "v": int,
            "subtask_id": str,
            "task_id": str | None,
            "plugin": str,
            "config": dict,
            "attempt": int,
            "store": str,
        }
        for name, kind in kinds.items():
            if name not in given:
                raise ValueError(f"it has no {name}")
            if not isinstance(given[name], kind) or isinstance(given[name], bool):
                raise ValueError(f"its {name} is a {type(given[name]).__name__}")  # noqa: TRY004 - as said
        if unknown := sorted(set(given) - set(kinds)):
            raise ValueError(f"there is more in it than is known: {', '.join(unknown):.200}")
        for name in ("subtask_id", "task_id"):
            if given[name] is not None and not _is_id(given[name]):
                raise ValueError(f"its {name} is no id")
        return cls(**{name: given[name] for name in kinds if name != "v"})

    def as_json(self) -> dict[str, Any]:
        """The JSON object that travels."""
        return {
            "v": VERSION,
            "subtask_id": self.subtask_id,
            "task_id": self.task_id,
            "plugin": self.plugin,
            "config": dict(self.config),
            "attempt": self.attempt,
            "store": self.store,
        }


def message_id(subtask_id: str) -> str:
    """The id of a subtask's messages, the same for all, and of a form that any log takes."""
    return str(uuid.uuid5(_IDS, subtask_id))


def _is_id(text: str) -> bool:
    """Whether the service would take it, and stores and Datahub can be asked about it."""
    fits = len(text) <= ID_LIMIT and re.fullmatch(ID_PATTERN, text) is not None
    return fits and not re.search(r"[\ud800-\udfff]", text)
