"""What a service's answer to create_task or manage_task comes to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from plugin_framework.emulator.platform.calls import Answer, CallError
from plugin_framework.emulator.rules import BAD_REQUEST, BUSINESS_ERROR, UNAUTHORIZED
from plugin_framework.protocol.models import Envelope

_LONGEST_MESSAGE: Final = 500
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
_LATER: Final = frozenset({408, 425, 429})
_KNOWN: Final = re.compile(r"\b(?:already|exists?|duplicate|known)\b", re.IGNORECASE)


class Verdict(Enum):
    """What is to be done next."""

    ACCEPTED = "accepted"  # nothing
    REFUSED = "refused"  # nothing: the same call would be refused again
    AGAIN = "again"  # the same call, later


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and why; ``code`` as the service gave it, 1 where it gave none.

    ``arrived``: the service may have taken the call, whatever the verdict.
    """

    verdict: Verdict
    code: int = 0
    message: str = ""
    retry_after: float | None = None
    arrived: bool = True


def outcome_of(answer: Answer, *, repeated: bool) -> Outcome:
    """Judge an answer; ``repeated``: the same call may have arrived before.

    A service that says then that it knows the subtask already has accepted it the first time.
    """
    given = envelope_of(answer.body)
    if given is None and answer.status < 300:  # noqa: PLR2004 - the class of all successes
        said = f"an answer that is no envelope (HTTP {answer.status})"
        return Outcome(Verdict.AGAIN, BUSINESS_ERROR, said)
    if answer.status in range(300, BAD_REQUEST):
        said = f"a redirect (HTTP {answer.status}), which is not followed"
        return Outcome(Verdict.AGAIN, BUSINESS_ERROR, said)
    code = given.code if given is not None else 0
    if code == 0 and answer.status < BAD_REQUEST:
        return Outcome(Verdict.ACCEPTED)
    message = clean(given.msg if given is not None else "") or f"HTTP {answer.status}"
    codes = {code or answer.status, answer.status}
    if max(codes) >= _SERVER_ERROR or codes & _LATER or "busy" in message.lower():
        return Outcome(Verdict.AGAIN, code or answer.status, message, answer.retry_after)
    if repeated and (_CONFLICT in codes or _KNOWN.search(message)):
        return Outcome(Verdict.ACCEPTED)
    return Outcome(Verdict.REFUSED, code or answer.status, message)


def failure_of(error: CallError) -> Outcome:
    """The outcome where there was no answer."""
    return Outcome(Verdict.AGAIN, BUSINESS_ERROR, f"the service: {error}", arrived=error.arrived)


def is_signature_refused(outcome: Outcome) -> bool:
    """Whether signing anew may help: the same signature may have been sent before a restart."""
    return outcome.verdict is Verdict.REFUSED and outcome.code == UNAUTHORIZED


def envelope_of(body: bytes) -> Envelope | None:
    """The envelope in a body; None where there is none."""
    parsed = json_object(body)
    if parsed is None or type(parsed.get("code", 0)) is not int:
        return None
    msg = parsed.get("msg")
    return Envelope(code=parsed.get("code", 0), msg=msg if isinstance(msg, str) else "")


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object in a JSON text; None where it is no such thing."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def clean(text: str) -> str:
    """Foreign text, short and on one line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."
