"""The judge's storage and the faults it plays: each wrong client breaks exactly one rule."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.strict_client import (
    CHUNK,
    KEY,
    SECRET,
    SOURCE,
    TOKEN,
    Client,
    client,
    hub,
    raw,
    source,
)
from tests.strict_datahub import StrictDatahub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.strict_datahub import How

__all__ = ["client", "hub", "source"]  # fixtures

REFUSED = "storage: PUT to a URL that was not issued for it, byte for byte"


def put_url(client: Client, size: int = 1, chunk: int | None = None) -> str:
    return client.init(size, chunk)[1][0]


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type",
        "Content-MD5",
        "x-amz-acl",
        "x-oss-meta-a",
        "Cookie",
        "Authorization",
        "D-API-KEY",
        "D-SIGNATURE",
    ],
)
def test_unsigned_headers(hub: StrictDatahub, client: Client, header: str) -> None:
    client.exchange(put_url(client), "PUT", b"x", {header: "x"})
    assert hub.violations == [f"storage: header {header} is not foreseen"]


@pytest.mark.parametrize("name", ["key", "secret", "token"])
def test_credentials_in_an_allowed_header(source: Path, name: str) -> None:
    given = {"key": KEY, "secret": SECRET, "token": TOKEN}
    with StrictDatahub(input_file=source, **given) as hub:  # type: ignore[arg-type]  # mypy joins the keywords
        client = Client(hub, key=KEY, secret=SECRET)
        client.status(1)
        url = client.download_url()
        client.read(url, User_Agent=f"client {given[name]}")
        path = url.partition("?")[0].split("/", 3)[3]
        assert hub.violations == [f"storage: the {name} was sent to /{path}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a%2Fb/../x/./", "x/"),
        ("/./", "/"),
        ("%2F", "%2f"),
        ("%3d", "%3D"),
        ("%E4%BD%A0", "%e4%bd%a0"),
        ("+~", "%20~"),
        ("~", "%7E"),
        ("%7e", "~"),
        ("==&", "%3D%3D&"),
        ("&empty=", ""),
        ("&empty=", "&empty"),
        ("&flag", "&flag="),
    ],
)
def test_altered_urls(hub: StrictDatahub, client: Client, old: str, new: str) -> None:
    url = put_url(client)
    assert old in url
    client.put(url.replace(old, new, 1), b"x")
    assert hub.violations == [REFUSED]


def test_a_url_is_for_its_method_only(hub: StrictDatahub, client: Client) -> None:
    client.put(client.download_url(), b"")
    client.read(put_url(client))
    assert hub.violations == [REFUSED, REFUSED.replace("PUT", "GET")]


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "POST"])
def test_other_methods(hub: StrictDatahub, client: Client, method: str) -> None:
    client.exchange(client.download_url(), method)
    assert hub.violations == [f"storage: {method} is no method of its"]


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        ("PUT with Transfer-Encoding", "Transfer-Encoding: chunked"),
        ("PUT without Content-Length", "Accept: */*"),
        ("PUT with a malformed or doubled Content-Length", "Content-Length: +1"),
        ("PUT with an Expect header", "Content-Length: 1\r\nExpect: 100-continue"),
    ],
)
def test_framing(hub: StrictDatahub, client: Client, fault: str, headers: str) -> None:
    url = put_url(client)
    target = "/" + url.split("/", 3)[3]
    raw(url, f"PUT {target} HTTP/1.1\r\nHost: HOST\r\n{headers}\r\n\r\nx")
    assert hub.violations == [f"storage: {fault}"]


def test_a_body_longer_than_its_length(hub: StrictDatahub, client: Client) -> None:
    url = put_url(client)
    raw(url, f"PUT /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\nxyz")
    assert hub.violations == ["malformed request: request line"]


def test_an_abandoned_part_is_no_fault(hub: StrictDatahub, client: Client) -> None:
    url = put_url(client, 100)
    raw(
        url, f"PUT /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\nxyz"
    )
    assert hub.storage.abandoned == {"PUT": 1}
    assert hub.violations == []


def test_part_sizes(hub: StrictDatahub, client: Client) -> None:
    _, urls = client.init(2 * CHUNK + 2, CHUNK + 1)
    client.put(urls[0], b"small")
    client.put(urls[0], bytes(CHUNK))
    assert hub.violations == [
        f"storage: part 1 of 2 has 5 bytes, fewer than {CHUNK}",
        f"storage: part 1 of 2 has {CHUNK} bytes, not {CHUNK + 1}",
    ]


def test_put_out_of_order(hub: StrictDatahub, client: Client) -> None:
    upload_id, (url,) = client.init(1)
    client.complete(upload_id, client.put(url, b"x"))
    client.put(url, b"x")
    client.status(5)
    client.put(url, b"x")
    assert hub.violations == [
        "storage: PUT to a completed upload",
        "storage: PUT outside status 1 and 2",
        "storage: PUT to a completed upload",
    ]


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=-", "0-1", "bytes=0-1,3-4", "bytes= 0-1"])
def test_range_syntax(hub: StrictDatahub, client: Client, asked: str) -> None:
    client.read(client.download_url(), Range=asked)
    assert hub.violations == ["storage: Range is not one plain range of bytes"]


def test_ranges(hub: StrictDatahub, client: Client, tmp_path: Path) -> None:
    url = client.download_url()
    status, headers, _ = client.read(url, Range="bytes=0-0")
    etag = headers["ETag"]
    assert (status, headers["Content-Range"]) == (206, f"bytes 0-0/{len(SOURCE)}")
    assert client.read(url)[2] == SOURCE
    assert client.read(url, Range="bytes=-6", If_Match=etag)[2] == SOURCE[-6:]
    assert client.read(url, Range="bytes=9-99999999", If_Match=etag)[2] == SOURCE[9:]
    assert client.read(url, Range="bytes=10240-", If_Match=etag)[0] == 416
    other = tmp_path / "other"
    other.write_bytes(b"")
    hub.change_input(other)
    assert client.read(url, Range="bytes=0-9", If_Match=etag)[0] == 412
    assert client.read(url, Range="bytes=0-9")[0] == 416
    assert hub.violations == []


def test_conditions(hub: StrictDatahub, client: Client) -> None:
    url = client.download_url()
    client.read(url, Range="bytes=0-0")
    client.read(url, Range="bytes=1-1")
    client.read(url, Range="bytes=1-1", If_Match="x")
    assert hub.violations == [
        "storage: a Range without If-Match after the first answer",
        "storage: If-Match is no ETag that was given",
    ]


@pytest.mark.parametrize(
    ("how", "answer"),
    [("503", 503), ("500", 500), ("code1", 200), ("code500", 200), ("html", 200)],
)
def test_api_faults_that_answer(hub: StrictDatahub, client: Client, how: How, answer: int) -> None:
    hub.fail_next("/api/task/result", 1, how)
    body = b'{"subtask_id": "task_abc_001_ingest", "result": {}}'
    url = f"{hub.url}/api/task/result"
    status, _, content = client.exchange(url, "POST", body)
    assert status == answer
    assert b'"code": 0' not in content
    assert hub.statuses == [1]
    client.exchange(url, "POST", body)
    assert hub.violations == []
    assert hub.statuses == [1, 3]
    assert hub.repeats == 0


@pytest.mark.parametrize(
    ("how", "repeats"), [("reset_before", 0), ("reset_after", 1), ("outage", 0)]
)
def test_api_faults_that_break(hub: StrictDatahub, client: Client, how: How, repeats: int) -> None:
    hub.fail_next("/api/task/result", 1, how)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.finish()
    assert client.get("notify", "task_id")["data"]["status"] == (3 if repeats else 1)
    assert client.finish()["code"] == 0
    assert (hub.violations, hub.statuses, hub.repeats) == ([], [1, 3], repeats)


def test_another_terminal_report_after_an_unacknowledged_one(
    hub: StrictDatahub, client: Client
) -> None:
    hub.fail_next("/api/task/result", 1, "reset_after")
    with pytest.raises(ConnectionError):
        client.finish(a=1)
    client.finish(a=2)
    client.beat()
    assert hub.violations == [
        "report of status 3 after another terminal one",
        "heartbeat after a terminal report was received",
    ]


def test_a_heartbeat_while_a_terminal_report_hangs(hub: StrictDatahub, client: Client) -> None:
    hub.fail_next("/api/task/result", 1, "hang")
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=20)
    connection.request(
        "POST", "/api/task/result", b'{"subtask_id":"task_abc_001_ingest","result":{}}'
    )
    hub.wait_for(lambda: hub.calls[-1].path == "/api/task/result")
    client.beat()
    connection.close()
    assert hub.violations == ["heartbeat after a terminal report was received"]


def test_a_start_known_by_notify_counts_as_acknowledged(hub: StrictDatahub) -> None:
    client = Client(hub)
    hub.fail_next("/api/task/update_status", 1, "reset_after")
    with pytest.raises(ConnectionError):
        client.status(1)
    client.get("notify", "task_id")
    client.beat()
    assert hub.violations == []


@pytest.mark.parametrize("how", ["503", "html", "reset_before", "reset_after", "outage"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_storage_faults(hub: StrictDatahub, client: Client, method: str, how: How) -> None:
    hub.fail_next(method, 1, how)
    url = client.download_url() if method == "GET" else put_url(client)
    body = None if method == "GET" else b"x"
    if how in {"503", "html"}:
        _, headers, _ = client.exchange(url, method, body)
        assert "ETag" not in headers
    else:
        with pytest.raises((OSError, http.client.HTTPException)):
            client.exchange(url, method, body)
    assert client.exchange(url, method, body)[0] == 200
    assert hub.violations == []


def test_a_storage_that_hangs_until_the_client_leaves(hub: StrictDatahub, client: Client) -> None:
    hub.fail_next("GET", 1, "hang")
    address, target = client.download_url().removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", f"/{target}")
    hub.wait_for(lambda: hub.storage.calls)
    connection.close()
    assert hub.violations == []


def test_faults_that_do_not_exist(hub: StrictDatahub) -> None:
    wrong: Any = "nonsense"
    with pytest.raises(ValueError, match="no such fault"):
        hub.fail_next("/api/task/result", 1, wrong)
    with pytest.raises(ValueError, match="no such fault"):
        hub.fail_next("PUT", 1, "code1")


def test_set_status_holds_until_reported(hub: StrictDatahub, client: Client) -> None:
    def ask() -> int:
        return int(client.get("notify", "task_id")["data"]["status"])

    hub.set_status(2)
    assert ask() == 2
    client.status(2)
    hub.set_status(1)
    assert ask() == 1
    client.status(1)
    hub.set_status(4)
    client.finish()
    assert ask() == 3
    assert hub.violations == []


def test_an_outage_keeps_the_port(hub: StrictDatahub, client: Client) -> None:
    hub.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        client.beat()
    hub.start_listening()
    assert client.beat()["code"] == 0
    assert hub.violations == []


def test_wait_for(hub: StrictDatahub, client: Client) -> None:
    sender = threading.Thread(target=client.beat, args=[7])
    sender.start()
    assert hub.wait_for(lambda: hub.heartbeats and hub.heartbeats[-1][1] == 7)
    sender.join()
    with pytest.raises(TimeoutError, match="statuses \\[1\\]"):
        hub.wait_for(lambda: False, timeout=0.01)


def test_repeats_of_the_same_status_are_counted(hub: StrictDatahub, client: Client) -> None:
    act: Callable[[int], Any] = client.status
    act(1)
    act(2)
    act(2)
    assert (hub.repeats, hub.statuses, hub.violations) == (2, [1, 2], [])
