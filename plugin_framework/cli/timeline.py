"""A subtask's timeline as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from plugin_framework.protocol.models import TaskStatus

if TYPE_CHECKING:
    from plugin_framework.journal.records import Record
    from plugin_framework.journal.timeline import Event

MEBIBYTE = 2**20
Detail = Mapping[str, Any]


def moment(at: float) -> str:
    """Unix seconds as a date and time in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def plain(text: str) -> str:
    """The text on one line, and without what would control a terminal."""
    return "".join(
        one if one.isprintable() else " " if one.isspace() else f"\\x{ord(one):02x}" for one in text
    )


def status_name(status: int | None) -> str:
    """A status by its name."""
    return "-" if status is None else TaskStatus(status).name.lower()


def facts(record: Record) -> dict[str, str]:
    """What a subtask is, by what to call it."""
    return {
        "subtask": plain(record.subtask_id),
        "task": plain(record.task_id or "-"),
        "plugin": plain(record.plugin),
        "status": f"{status_name(record.status)}, {record.state}",
        "attempts": str(record.attempts),
    }


def lines(record: Record, events: Sequence[Event]) -> Iterator[str]:
    """What the subtask is, and then a line for each event: time, seconds from the first, event."""
    for name, value in facts(record).items():
        yield f"{name:<9} {value}"
    yield ""
    began = events[0].at if events else 0.0
    width = max([len(f"{event.at - began:+.3f}") for event in events] + [len("seconds")])
    yield f"{'time (UTC)':<19}  {'seconds':>{width}}  event"
    for event in events:
        yield f"{moment(event.at)}  {event.at - began:>+{width}.3f}  {describe(event, began)}"


def manifest(outputs: Sequence[Detail]) -> Iterator[str]:
    """A line for each file that is in storage, if there are any: its SHA-256, bytes and name."""
    if outputs:
        width = max(len("bytes"), *(len(str(output["size"])) for output in outputs))
        yield ""
        yield f"{'sha256':<64}  {'bytes':>{width}}  output"
        for output in outputs:
            name = plain(output["name"])
            yield f"{output['sha256'] or '-':<64}  {output['size']:>{width}}  {name}"


def describe(event: Event, began: float) -> str:
    """An event in words; ``began`` is when the first one was."""
    known = _WORDS.get(event.kind)
    return plain(known(event.detail, began) if known else f"{event.kind} {dict(event.detail)}")


def _report(detail: Detail, _began: float) -> str:
    error = detail.get("error")
    return f"{status_name(detail['status'])}: kept on disk" + (f" ({error})" if error else "")


def _settled(how: str) -> Callable[[Detail, float], str]:
    return lambda detail, _: f"{status_name(detail['status'])}: Datahub {how} it"


def _counted(what: str) -> Callable[[Detail, float], str]:
    return lambda detail, began: (
        f"{what}: {detail['count']}, the last at {detail['last'] - began:+.3f}"
    )


def _transfer(detail: Detail, _began: float) -> str:
    done = "fetched" if detail["direction"] == "download" else "stored"
    size, seconds = detail["size"], detail["seconds"]
    large = f"{size / MEBIBYTE:.1f} MiB" if size >= MEBIBYTE else f"{size} bytes"
    return f"{done} {detail['name']}, {large}" + (f" in {seconds:.3f} s" if seconds else "")


def _at_a_node(what: str) -> Callable[[Detail, float], str]:
    return lambda detail, _: f"attempt {detail['attempt']} {what} on node {detail['node']}"


_WORDS: Mapping[str, Callable[[Detail, float], str]] = {
    "accepted": lambda detail, _: f"accepted by the service, for plugin {detail['plugin']}",
    "handed over": lambda _detail, _began: "handed over to the engine",
    "taken": _at_a_node("begins"),
    "given back": lambda _detail, _began: "its node gave it back",
    "published again": lambda _detail, _began: "handed over once more: no node seems to have it",
    "ended": _at_a_node("ended"),
    "dropped": lambda detail, _: f"Datahub refused its start, and it is dropped: {detail['error']}",
    "attempt": lambda detail, _: f"attempt {detail['attempt']}",
    "not started": lambda detail, _: f"attempt {detail['attempt']} undone: Datahub not told",
    "interrupted": lambda _detail, _began: "the run before was killed",
    "report": _report,
    "delivered": _settled("has"),
    "refused": _settled("refused"),
    "undelivered": lambda detail, _: f"gave up delivering: {detail.get('error') or 'no answer'}",
    "heartbeats": _counted("heartbeats"),
    "missed heartbeats": _counted("heartbeats that failed"),
    "transfer": _transfer,
    "stalled": lambda detail, _: f"no progress for {detail['seconds']:.0f} s",
    "signal": lambda detail, _: f"{detail['name']} came",
}
