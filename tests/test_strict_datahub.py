"""The judge is judged: a right client breaks no rule, a wrong one exactly the rule it breaks."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.strict_client import (
    CHUNK,
    KEY,
    SECRET,
    SOURCE,
    SUBTASK,
    TOKEN,
    Client,
    client,
    hub,
    part_urls,
    raw,
    source,
)
from tests.strict_datahub import StrictDatahub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["client", "hub", "source"]  # fixtures


@pytest.mark.parametrize(
    ("part_urls", "fields", "echo"), [("objects", "sample", True), ("strings", "joined", False)]
)
def test_a_right_run(source: Path, part_urls: Any, fields: Any, echo: bool) -> None:  # noqa: FBT001 - a parameter
    auth = {"key": KEY, "secret": SECRET}
    output = SOURCE * 600
    with StrictDatahub(
        task_id="task_abc",
        input_file=source,
        part_urls=part_urls,
        fields=fields,
        chunk_echo=echo,
        **auth,
    ) as hub:
        client = Client(hub, **auth)
        assert client.get("notify", "task_id", "task_abc")["data"] == {"status": 0}
        client.status(1)
        url = client.download_url()
        _, headers, first = client.read(url, Range="bytes=0-99")
        assert headers["Content-Range"] == f"bytes 0-99/{len(SOURCE)}"
        _, _, rest = client.read(url, Range="bytes=100-", If_Match=headers["ETag"])
        assert first + rest == SOURCE
        client.beat(10)
        client.status(2)
        client.status(1)
        upload(client, output, fields)
        client.beat(100)
        assert client.finish(total_counts=1)["code"] == 0
        assert hub.violations == []
        assert hub.statuses == [1, 2, 1, 3]
        assert [process for _, process in hub.heartbeats] == [10, 100]
        assert hub.outputs == {"out.bin": output}
        assert hub.result == {"total_counts": 1}
        assert hub.repeats == 0


def upload(client: Client, output: bytes, fields: str) -> None:
    name, size = ("filename", "filesize") if fields == "joined" else ("file_name", "file_size")
    content = {name: "out.bin", size: len(output), "chunk_size": CHUNK}
    data = client.post("upload/init", **content)["data"]
    assert ("chunk_size" in data) == (fields == "sample")
    urls = part_urls(data["part_upload_urls"])
    etags = [client.put(url, output[n * CHUNK :][:CHUNK]) for n, url in enumerate(urls)]
    assert client.complete(data["upload_id"], *etags)["code"] == 0


def test_a_bearer_token(source: Path) -> None:
    with StrictDatahub(token=TOKEN, input_file=source) as hub:
        body = json.dumps({"subtask_id": SUBTASK, "status": 1}).encode()
        client = Client(hub)
        client.post_raw("update_status", body, {"Authorization": f"Bearer {TOKEN}"})
        assert hub.violations == []
        client.post_raw("update_status", body)
        assert hub.violations == ["/api/task/update_status: Authorization is missing or wrong"]


def test_an_empty_file_and_a_large_one(hub: StrictDatahub, client: Client) -> None:
    upload_id, (url,) = client.init(0)
    client.complete(upload_id, client.put(url, b""))
    assert hub.outputs == {"out.bin": b""}
    large = bytes(2 * CHUNK)
    upload_id, urls = client.init(len(large), CHUNK)
    client.complete(upload_id, *[client.put(url, large[:CHUNK]) for url in urls])
    assert not isinstance(hub.outputs["out.bin"], bytes)
    assert hub.outputs["out.bin"].read_bytes() == large
    assert hub.violations == []


def bad_signature(**wrong: str) -> Callable[[Client], object]:
    def act(client: Client) -> object:
        body = json.dumps({"subtask_id": SUBTASK, "status": 1}).encode()
        return client.post_raw("update_status", body, wrong)

    return act


def stale(client: Client) -> object:
    body = json.dumps({"subtask_id": SUBTASK, "status": 1}).encode()
    return client.post_raw("update_status", body, client.sign({}, body, age=400))


def unsigned(client: Client) -> object:
    client.key = ""
    return client.status(1)


def spaced_query(client: Client) -> object:
    """Sign the query as JSON with white space."""
    headers = client.sign({}, json.dumps({"task_id": SUBTASK}).encode())
    url = f"{client.hub.url}/api/task/notify?task_id={SUBTASK}"
    return client.exchange(url, "GET", None, headers)


def secret_in_body(client: Client) -> object:
    client.status(1)
    return client.finish(note=SECRET)


@pytest.mark.parametrize(
    ("fault", "act"),
    [
        ("update_status: D-SIGNATURE is wrong", bad_signature(**{"D-SIGNATURE": "0" * 64})),
        ("update_status: D-API-KEY is wrong", bad_signature(**{"D-API-KEY": "other"})),
        (
            "update_status: D-TIMESTAMP is no decimal number of seconds",
            bad_signature(**{"D-TIMESTAMP": "1.5e9"}),
        ),
        (
            "update_status: Authorization is not foreseen",
            bad_signature(Authorization=f"Bearer {TOKEN}"),
        ),
        ("update_status: D-TIMESTAMP is stale", stale),
        ("update_status: D-API-KEY is missing or doubled", unsigned),
        ("notify: D-SIGNATURE is wrong", spaced_query),
        ("result: the secret was sent in clear", secret_in_body),
    ],
)
def test_signing_rules(fault: str, act: Callable[[Client], object]) -> None:
    with StrictDatahub(key=KEY, secret=SECRET) as hub:
        act(Client(hub, key=KEY, secret=SECRET))
        assert hub.violations == [f"/api/task/{fault}"]


@pytest.mark.parametrize(
    ("fault", "act"),
    [
        ("heartbeat: process is not an integer from 0 to 100", lambda c: c.beat(process=True)),
        ("heartbeat: process is not an integer from 0 to 100", lambda c: c.beat(1.0)),
        ("heartbeat: process is not an integer from 0 to 100", lambda c: c.beat(101)),
        ("heartbeat: timestamp is not an integer", lambda c: c.beat(0, time.time())),
        ("heartbeat: process is missing", lambda c: c.post("heartbeat", timestamp=1)),
        ("update_status: status is not an integer", lambda c: c.status("1")),
        ("update_status: status is not an integer", lambda c: c.status(status=True)),
        (
            "update_status: why is no field of this call",
            lambda c: c.post("update_status", status=5, why=""),
        ),
        (
            "update_status: subtask_id is another task's",
            lambda c: c.post("update_status", subtask_id="x", status=5),
        ),
        ("result: result is not an object", lambda c: c.post("result", result=[])),
        ("result: NaN is no JSON", lambda c: c.finish(x=float("nan"))),
        ("result: the body is no JSON", lambda c: c.finish(x="\ud800")),
        ("result: the body is no JSON", lambda c: c.post_raw("result", b"{")),
        ("result: the body is no JSON object", lambda c: c.post_raw("result", b"[]")),
        ("result: a name is given twice", lambda c: c.post_raw("result", b'{"a":1,"a":1}')),
        (
            "result: Content-Type is not application/json",
            lambda c: c.post_raw("result", b"{}", {"Content-Type": "text/plain"}),
        ),
        ("notify: task_id is not a non-empty string", lambda c: c.get("notify", "task_id", "")),
        ("notify: task_id is another task's", lambda c: c.get("notify", "task_id", "other")),
        ("upload/init: file_size is not an integer of 0 or more", lambda c: c.init(-1)),
        (
            "upload/init: chunk_size is not null or a positive integer",
            lambda c: c.init(1, chunk=True),
        ),
        (
            "upload/complete: parts is not a list of parts, each an index and an etag",
            lambda c: c.post("upload/complete", upload_id="x", parts=[{"index": "1", "etag": ""}]),
        ),
        (
            "heartbeat: header Cookie is not foreseen",
            lambda c: c.post_raw("heartbeat", beat_body(), {"Cookie": "a=b"}),
        ),
        (
            "heartbeat: D-API-KEY without a key",
            lambda c: c.post_raw("heartbeat", beat_body(), {"D-API-KEY": "k"}),
        ),
    ],
)
def test_field_rules(
    hub: StrictDatahub, client: Client, fault: str, act: Callable[[Client], object]
) -> None:
    act(client)
    assert hub.violations == [f"/api/task/{fault}"]


def beat_body() -> bytes:
    content = {"subtask_id": SUBTASK, "timestamp": int(time.time()), "process": 0}
    return json.dumps(content).encode()


def do(*acts: Callable[[Client], object]) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        for one in acts:
            one(client)

    return act


def incomplete(
    size: int, *etags: str, spoil: Callable[[str], str] = str
) -> Callable[[Client], object]:
    """Complete a single upload of one stored byte in a wrong way."""

    def act(client: Client) -> object:
        upload_id, (url,) = client.init(size)
        etag = spoil(client.put(url, b"x"))
        return client.complete(upload_id, etag, *etags)

    return act


def completed_twice(client: Client) -> None:
    upload_id, (url,) = client.init(1)
    etag = client.put(url, b"x")
    client.complete(upload_id, etag)
    client.complete(upload_id, etag)


def never_stored(client: Client) -> None:
    client.complete(client.init(1)[0], "x")


@pytest.mark.parametrize(
    ("fault", "act"),
    [
        ("status 3 by update_status", lambda c: c.status(3)),
        ("update_status to 0", lambda c: c.status(0)),
        ("update_status to 7", lambda c: c.status(7)),
        ("illegal transition from 2 to 3", do(lambda c: c.status(2), lambda c: c.finish())),
        (
            "report of status 5 after an acknowledged terminal one",
            do(lambda c: c.finish(), lambda c: c.status(5)),
        ),
        (
            "report of status 3 after an acknowledged terminal one",
            do(lambda c: c.finish(), lambda c: c.finish()),
        ),
        (
            "heartbeat after a terminal report was received",
            do(lambda c: c.status(4), lambda c: c.beat()),
        ),
        ("heartbeat: process fell from 50 to 49", do(lambda c: c.beat(50), lambda c: c.beat(49))),
        (
            "heartbeat: timestamp is off by more than 300 s",
            lambda c: c.beat(0, int(time.time()) - 400),
        ),
        ("chunk_size 5242879 is below 5242880", lambda c: c.init(CHUNK, CHUNK - 1)),
        ("10001 parts are more than 10000", lambda c: c.init(CHUNK * 10000 + 1, CHUNK)),
        (
            "upload/init outside status 1 and 2",
            do(lambda c: c.status(5), lambda c: c.init(1)),
        ),
        (
            "download/presign outside status 1 and 2",
            do(lambda c: c.status(5), lambda c: c.get("download/presign", "subtask_id")),
        ),
        (
            "upload/complete outside status 1 and 2",
            do(lambda c: c.status(5), lambda c: c.complete("x", "y")),
        ),
        ("upload/complete of an upload that is not known", lambda c: c.complete("x", "y")),
        ("upload/complete of a completed upload", completed_twice),
        (
            "upload/complete: the parts add up to 1 bytes, not 2",
            incomplete(2),
        ),
        (
            "upload/complete: parts are not 1 to 1, each once, in order",
            incomplete(1, "surplus"),
        ),
        (
            "upload/complete: the ETag of part 1 is not verbatim",
            incomplete(1, spoil=lambda etag: etag.strip('"')),
        ),
        ("upload/complete: part 1 was not stored", never_stored),
        (
            "GET /api/task/heartbeat is no call of the protocol",
            lambda c: c.get("heartbeat", "task_id"),
        ),
        ("POST /api/task/other is no call of the protocol", lambda c: c.post("other")),
    ],
)
def test_order_rules(
    hub: StrictDatahub, client: Client, fault: str, act: Callable[[Client], object]
) -> None:
    act(client)
    assert hub.violations == [fault]


@pytest.mark.parametrize(
    ("fault", "act"),
    [
        ("heartbeat before status 1 was acknowledged", lambda c: c.beat()),
        ("upload/init outside status 1 and 2", lambda c: c.init(1)),
        ("illegal transition from 0 to 3", lambda c: c.finish()),
        ("illegal transition from 0 to 2", lambda c: c.status(2)),
    ],
)
def test_before_the_start(hub: StrictDatahub, fault: str, act: Callable[[Client], object]) -> None:
    act(Client(hub))
    assert hub.violations == [fault]


@pytest.mark.parametrize(
    ("fault", "request_text"),
    [
        (
            "API: POST with Transfer-Encoding",
            "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "API: POST without Content-Length",
            "POST /api/task/result HTTP/1.1\r\nHost: HOST\r\n\r\n",
        ),
        (
            "API: POST with a malformed or doubled Content-Length",
            "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "API: POST with an Expect header",
            "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
        ),
        (
            "API: the body is shorter than its Content-Length",
            "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\n{}",
        ),
        ("malformed request: request line", "GET /a b HTTP/1.1\r\n\r\n"),
        ("malformed request: header line", "GET / HTTP/1.1\r\nHost : HOST\r\n\r\n"),
        (
            "/api/task/notify: Host is not exactly the address of the server",
            f"GET /api/task/notify?task_id={SUBTASK} HTTP/1.1\r\nHost: other\r\n\r\n",
        ),
        (
            "/api/task/notify: HTTP/1.0 in place of HTTP/1.1",
            f"GET /api/task/notify?task_id={SUBTASK} HTTP/1.0\r\nHost: HOST\r\n\r\n",
        ),
        (
            "/api/task/notify: GET with a body",
            (
                f"GET /api/task/notify?task_id={SUBTASK} HTTP/1.1\r\nHost: HOST\r\n"
                "Content-Length: 1\r\n\r\nx"
            ),
        ),
    ],
)
def test_wire_rules(hub: StrictDatahub, fault: str, request_text: str) -> None:
    raw(hub.url, request_text)
    assert hub.violations == [fault]
