"""What a request is about: what rules are matched with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

API: Final = (
    "upload_init",
    "upload_complete",
    "download_presign",
    "update_status",
    "heartbeat",
    "result",
    "notify",
)
STORAGE: Final = ("get", "put")
SERVICE: Final = ("create_task", "manage_task")
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {"api": API, "storage": STORAGE, "service": SERVICE}
INCOMING: Final = API + STORAGE
CALLS: Final = INCOMING + SERVICE
METHODS: Final[Mapping[str, str]] = dict.fromkeys(CALLS, "POST") | {
    "download_presign": "GET",
    "notify": "GET",
    "get": "GET",
    "put": "PUT",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. ``name`` is the file's, ``key`` the object's; "" is not known."""

    call: str
    method: str
    subtask: str = ""
    name: str = ""
    key: str = ""
    part: int | None = None
