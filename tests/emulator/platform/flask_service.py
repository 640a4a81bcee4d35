"""A plugin service made from PROTOCOL.md alone: Flask, and what comes with Python.

Run as ``python flask_service.py DATAHUB_URL PORT`` with ``PLUGIN_KEY`` and ``PLUGIN_SECRET`` set;
with ``PLUGIN_SIGNS_WITH`` its own calls are signed with another secret. Its plugin, ``shout``,
makes an upper-case copy of its input, in ``config["steps"]`` steps. Then it waits until the file
``config["until"]`` exists, if that is given, and fails if ``config["fail"]``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue

KEY, SECRET = os.environ["PLUGIN_KEY"], os.environ["PLUGIN_SECRET"]
SIGNS_WITH = os.environ.get("PLUGIN_SIGNS_WITH", SECRET)
DATAHUB = sys.argv[1]
PART = 5 * 1024 * 1024
BEAT_SECONDS = 0.2
STARTED = time.monotonic()

app = Flask(__name__)
wanted: dict[str, int] = {}
taken: set[str] = set()
changed = threading.Condition()
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


# 2.1: both directions


def signature(secret: str, query: dict[str, str], body: bytes, timestamp: str) -> str:
    text = json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""
    return hmac.new(
        secret.encode(), text.encode() + body + timestamp.encode(), hashlib.sha256
    ).hexdigest()


@app.before_request
def check_signature() -> ResponseReturnValue | None:
    if request.path == "/config.js":
        return None
    timestamp = request.headers.get("D-TIMESTAMP", "")
    given = request.headers.get("D-SIGNATURE", "")
    right = signature(SECRET, request.args.to_dict(), request.get_data(), timestamp)
    fresh = timestamp.isdigit() and abs(time.time() - int(timestamp)) <= 300
    mine = request.headers.get("D-API-KEY") == KEY
    if not (mine and fresh and hmac.compare_digest(given, right)):
        return envelope(401, "wrong signature"), 401
    return None


def envelope(code: int = 0, msg: str = "success", **more: Any) -> Response:
    return jsonify({"code": code, "msg": msg, **(more or {"data": None})})


T = TypeVar("T")


def patiently(ask: Callable[[], T]) -> T:
    """Ask again while nobody answers, or not to the end."""
    for pause in [0.1] * 300:
        try:
            return ask()
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, ConnectionError, HTTPException, JSONDecodeError):
            threading.Event().wait(pause)
    return ask()


def call(path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
    return patiently(lambda: call_once(path, body, query))


def call_once(path: str, body: dict[str, Any] | None, query: dict[str, str]) -> dict[str, Any]:
    raw = b"" if body is None else json.dumps(body).encode()
    timestamp = str(int(time.time()))
    url = f"{DATAHUB}/api/task/{path}" + (f"?{urlencode(query)}" if query else "")
    headers = {
        "D-API-KEY": KEY,
        "D-TIMESTAMP": timestamp,
        "D-SIGNATURE": signature(SIGNS_WITH, query, raw, timestamp),
        "Content-Type": "application/json",
    }
    asked = urllib.request.Request(url, raw or None, headers)
    with direct.open(asked, timeout=30) as answer:
        said = json.load(answer)
    if said["code"] != 0:
        raise RuntimeError(said["msg"])
    data: dict[str, Any] = said["data"] or {}
    return data


# 2.2 to 2.4: what Datahub calls


@app.post("/api/plugin/create_task")
def create_task() -> ResponseReturnValue:
    given = request.get_json()
    with changed:
        if given["subtask_id"] in taken:
            return envelope(1, "there is such a task already")
        taken.add(given["subtask_id"])
        wanted[given["subtask_id"]] = 1
    task = (given["subtask_id"], given.get("config", {}))
    threading.Thread(target=run, args=task, daemon=True).start()
    return envelope()


@app.post("/api/plugin/manage_task")
def manage_task() -> ResponseReturnValue:
    given = request.get_json()
    with changed:
        if given["subtask_id"] not in wanted:
            return envelope(1, "no such task")
        wanted[given["subtask_id"]] = given["status"]
        changed.notify_all()
    return envelope()


@app.get("/api/plugin/health")
def health() -> ResponseReturnValue:
    facts = {
        "uptime": int(time.monotonic() - STARTED),
        "version": "0.9",
        "plugin_id": "shout",
    }
    return envelope(status="healthy", plugin=facts)


@app.get("/config.js")
def config_script() -> ResponseReturnValue:
    script = "return {init: (id, update) => update({}), validateConfig: () => ({valid: true})};"
    return script, 200, {"Content-Type": "text/javascript"}


# 2.7: what a task does


class CancelledError(Exception):
    """Status 4 was asked for."""


class Task:
    def __init__(self, subtask_id: str, config: dict[str, Any]) -> None:
        self.id = subtask_id
        self.config = config
        self.percent = 0
        self.over = threading.Event()

    def beat(self) -> None:
        while not self.over.wait(BEAT_SECONDS):
            body = {"timestamp": int(time.time()), "process": self.percent}
            call("heartbeat", {"subtask_id": self.id, **body})

    def status(self, status: int) -> None:
        call("update_status", {"subtask_id": self.id, "status": status})

    def checkpoint(self) -> None:
        """Do what was asked for meanwhile."""
        with changed:
            if wanted[self.id] == 2:
                self.status(2)
                changed.wait_for(lambda: wanted[self.id] != 2)
                if wanted[self.id] == 1:
                    self.status(1)
            if wanted[self.id] == 4:
                raise CancelledError

    def work(self) -> dict[str, Any]:
        url = call("download/presign", subtask_id=self.id)["download_url"]
        text = patiently(partial(get, url))
        steps = self.config.get("steps", 4)
        for step in range(steps):
            self.percent = 100 * step // steps
            self.checkpoint()
        until = Path(self.config["until"]) if "until" in self.config else None
        while until is not None and not until.exists():
            with changed:
                changed.wait(0.02)
            self.checkpoint()
        if self.config.get("fail"):
            raise RuntimeError("as it was asked")
        self.upload("shouted.txt", text.upper())
        return {"total_counts": len(text), "success_counts": len(text), "failed_counts": 0}

    def upload(self, name: str, content: bytes) -> None:
        asked = {"subtask_id": self.id, "file_name": name, "file_size": len(content)}
        many = {"chunk_size": PART} if len(content) > PART else {}
        begun = call("upload/init", asked | many)
        parts = []
        for number, part in enumerate(begun["part_upload_urls"]):
            url = part if isinstance(part, str) else part["url"]
            piece = content[number * PART : (number + 1) * PART] if many else content
            parts.append({"index": number + 1, "etag": patiently(partial(put, url, piece))})
        ids = {"upload_id": begun["upload_id"], "subtask_id": self.id}
        call("upload/complete", {**ids, "parts": parts})


def get(url: str) -> bytes:
    with direct.open(url, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def put(url: str, piece: bytes) -> str:
    asked = urllib.request.Request(url, piece, method="PUT")
    with direct.open(asked, timeout=30) as answer:
        etag: str = answer.headers["ETag"]
        return etag


def run(subtask_id: str, config: dict[str, Any]) -> None:
    task = Task(subtask_id, config)
    beats = threading.Thread(target=task.beat, daemon=True)
    end: int | dict[str, Any]
    try:
        task.status(1)
        beats.start()
        end = task.work()
    except CancelledError:
        end = 4
    except Exception as error:  # noqa: BLE001 - anything that goes wrong is status 5
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - a program of its own
        end = 5
    task.over.set()
    if beats.is_alive():
        beats.join()
    if isinstance(end, int):
        task.status(end)
    else:
        call("result", {"subtask_id": subtask_id, "result": end})


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[2]), threaded=True)
