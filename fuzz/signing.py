"""Whether the service lets in what Datahub signed, and nothing else.

An input is a request in words: method, seconds that its clock is off (or a whole timestamp after an
``@``), who signed, the key if it is not ours, and which digit of the signature is sent as another;
the query that was signed; the query that is sent, if it is another; further headers; and after an
empty line the body, or the signed one, a NUL and the sent one:

    POST -3 new key 63
    a=1

    D-API-KEY: other

    {"subtask_id": "s"}

A second implementation, which shares no line with the first, says what must come of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace

from starlette.requests import Request

from fuzz.reading import lines, numbers
from plugin_framework.protocol.signing import Inbound, Seen, signature_headers
from plugin_framework.service import admission
from plugin_framework.service.answers import Refused

NOW = 1_704_067_200.25
KEY = "key"
SECRETS = {b"new": "s" * 80, b"old": "old secret \u00e9", b"foreign": "not ours"}
OURS = ("s" * 80, "old secret \u00e9")
UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~",
)
PLAIN = UNRESERVED | frozenset(b"!$'()*+,;:@/?")
DIGITS = frozenset(b"0123456789")
REFUSALS = {400, 401, 411, 413, 415, 503}
LOOP = asyncio.new_event_loop()

# The same input means the same at any time.
SETTING = ((admission, "time", SimpleNamespace(time=lambda: NOW)),)


def fuzz(data: bytes) -> None:
    """Send the request twice: the first is let in if it should be, and the second never."""
    (about, signed_query, sent_query), rest = lines(data, 3)
    given, _, bodies = (
        rest.partition(b"\n\n") if not rest.startswith(b"\n") else (b"", b"", rest[1:])
    )
    signed_body, nul, sent_body = bodies.partition(b"\0")
    sent_query, sent_body = sent_query or signed_query, sent_body if nul else signed_body
    method, late, signer, key, altered = [*about.split(), b"", b"", b"", b"", b""][:5]
    written = late.removeprefix(b"@")
    stamp = written if late != written else b"%d" % (int(NOW) + numbers(late, 1)[0] % 10_000_000)
    headers = [_header(line) for line in given.split(b"\n") if line]
    query = naive_query(signed_query)
    if signer in SECRETS and query is not None:
        text = naive_json(query, plain=method == b"PLAIN") + signed_body
        proof = naive_hmac(SECRETS[signer].encode(), text + stamp)
        proof = _altered(proof, numbers(altered, 1)[0] % len(proof)) if altered else proof
        headers += [(b"d-api-key", key or b"key")]
        headers += [(b"D-Timestamp", stamp), (b"d-signature", proof)]
        if late == written:
            check_ours(query, signed_body, int(stamp), SECRETS[signer], method)

    method = b"GET" if method == b"GET" else b"POST"
    expected = naive_verdict(headers, sent_query, sent_body)
    seen = Seen(clock=lambda: 0.0)
    door = admission.Admission(Inbound(KEY, OURS), seen)
    first = admit(door, method, headers, sent_query, sent_body)
    assert isinstance(first, admission.Call) is expected, first
    if isinstance(first, int):
        assert first in REFUSALS, first
        return
    assert first.query == dict(naive_query(sent_query) or {})
    assert first.body == sent_body
    assert admit(door, method, headers, sent_query, sent_body) == 401


def check_ours(
    query: list[tuple[str, str]], body: bytes, at: int, secret: str, method: bytes
) -> None:
    """What we sign ourselves is what the second implementation signs."""
    if method != b"PLAIN":
        made = signature_headers(KEY, secret, dict(query), body, at)["D-SIGNATURE"]
        text = naive_json(query, plain=False) + body + str(at).encode()
        assert made.encode() == naive_hmac(secret.encode(), text)


def admit(
    door: admission.Admission,
    method: bytes,
    headers: list[tuple[bytes, bytes]],
    query: bytes,
    body: bytes,
) -> admission.Call | int:
    """What the service's door makes of a request: the call, or the status of its refusal."""
    scope = {
        "type": "http",
        "method": method.decode(),
        "path": "/",
        "query_string": query,
        "headers": [
            *((name.lower(), value) for name, value in headers),
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"application/json"),
        ],
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(scope, receive)
    try:
        return LOOP.run_until_complete(door.admit(request))
    except Refused as refused:
        return refused.status


def naive_verdict(headers: list[tuple[bytes, bytes]], raw: bytes, body: bytes) -> bool:
    """Whether a request is to be let in, by the words of the protocol."""
    given = [
        [value for name, value in headers if name.lower() == wanted]
        for wanted in (b"d-api-key", b"d-timestamp", b"d-signature")
    ]
    query = naive_query(raw)
    if [len(values) for values in given] != [1, 1, 1] or query is None:
        return False
    [[key], [stamp], [signature]] = given
    in_time = (
        0 < len(stamp) <= 12
        and DIGITS.issuperset(stamp)
        and (stamp == b"0" or not stamp.startswith(b"0"))
        and int(NOW) - 299 <= int(stamp) <= int(NOW) + 300
    )
    texts = [naive_json(query, plain=plain) + body + stamp for plain in (False, True)]
    proofs = {naive_hmac(secret.encode(), text) for secret in OURS for text in texts}
    return in_time and key == b"key" and signature in proofs


def naive_query(raw: bytes) -> list[tuple[str, str]] | None:
    """Names and values; None unless each is there once, and written as encoders write it."""
    found: dict[str, str] = {}
    for pair in raw.split(b"&") if raw else ():
        name, equals, value = pair.partition(b"=")
        texts = [_unquoted(name), _unquoted(value, b"=")]
        if not equals or texts[0] is None or texts[1] is None or texts[0] in found:
            return None
        found[texts[0]] = texts[1]
    return list(found.items())


def _unquoted(text: bytes, also: bytes = b"") -> str | None:
    made, at = bytearray(), 0
    while at < len(text):
        byte = text[at]
        if byte == ord("%"):
            hexadecimal = text[at + 1 : at + 3]
            if len(hexadecimal) != 2 or not set(hexadecimal) <= set(b"0123456789ABCDEF"):
                return None
            byte, at = int(hexadecimal, 16), at + 2
            if byte in UNRESERVED:
                return None
        elif byte == ord("+"):
            byte = ord(" ")
        elif byte not in PLAIN and byte not in also:
            return None
        made.append(byte)
        at += 1
    try:
        return made.decode()
    except UnicodeDecodeError:
        return None


def naive_json(query: list[tuple[str, str]], *, plain: bool) -> bytes:
    """The query as it is signed, letter by letter."""
    if not query:
        return b""
    pairs = [f"{_word(name, plain)}:{_word(value, plain)}" for name, value in sorted(query)]
    return ("{" + ",".join(pairs) + "}").encode()


def _word(text: str, plain: bool) -> str:  # noqa: FBT001 - of this file
    short = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
    made = ""
    for char in text:
        code = ord(char)
        if code in short:
            made += "\\" + short[code]
        elif code < 32 or (code > 126 and code != 127 and not plain):
            pair = char.encode("utf-16-be")
            made += "".join(f"\\u{pair[i : i + 2].hex()}" for i in range(0, len(pair), 2))
        else:
            made += char
    return f'"{made}"'


def naive_hmac(key: bytes, message: bytes) -> bytes:
    """RFC 2104, with SHA-256, in lowercase hex."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest().encode()


def _altered(proof: bytes, at: int) -> bytes:
    other = b"1" if proof[at : at + 1] == b"0" else b"0"
    return proof[:at] + other + proof[at + 1 :]


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    name = name.strip()
    # What these two say is checked by the server, before the service.
    spared = name.lower() in {b"content-length", b"transfer-encoding"}
    return b"x-spared" if spared else name, value.strip()
