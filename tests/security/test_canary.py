"""FAULTS.md, row 82: what is secret passes through everything, and is nowhere to be found after.

Real commands run against a local Datahub, behind a forwarder that knows each signature and each
presigned query that was in use. Their transfers fail in many ways; then everything that was said,
shown, kept or handed on is searched for every secret there was.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator
from plugin_framework.protocol.models import TaskStatus
from tests.cli.calling import Ended, call
from tests.free_ports import free_port
from tests.lifecycle.running import eventually
from tests.security.recorder import Recorder
from tests.security.services import ask_everything
from tests.service.calling import KEY, SECRET, ServiceProcess

pytestmark = pytest.mark.timeout(300)  # about twenty commands, and a service

PLUGIN = "tests.security.curious:Curious"
PREVIOUS, TOKEN, BROKER, STORE, PROXY, COLLECTOR, THEIRS = (
    f"c4n4ry-{name}"
    for name in ("previous", "token", "broker", "store", "proxy", "collector", "theirs")
)
# Of the API secret what is written alike everywhere: it is not all ASCII.
GIVEN = (KEY, SECRET[:-1], PREVIOUS, TOKEN, BROKER, STORE, PROXY, COLLECTOR, THEIRS)
PLUGINS_OWN_URL = f"https://theirs.example/x?X-Amz-Credential=me&X-Amz-Signature={THEIRS}"
"""The plugin fails with it: it is in its exceptions, its traceback and its error."""

FAULTS: Mapping[str, list[dict[str, Any]]] = {
    "complete": [
        {"fault": "status", "status": 503, "call": ["api"], "every": 5},
        {"fault": "reset", "call": ["put"], "part": [2], "count": 1, "bytes": 1000},
        {"fault": "expire", "call": ["put"], "part": [1], "count": 1},
        {"fault": "truncate", "call": ["get"], "count": 1},
        {"fault": "garbage", "kind": "html", "call": ["upload_complete"], "count": 1},
    ],
    "upload refused": [{"fault": "status", "status": 403, "call": ["put"]}],
    "download refused": [{"fault": "status", "status": 403, "call": ["get"]}],
    "no upload": [{"fault": "code", "code": 1, "call": ["upload_init"]}],
    "raise": [],
    "crash": [],
    "undelivered": [{"fault": "reset", "call": ["result"]}],
}
EXIT_CODES = {"complete": 0, "undelivered": 75}


@dataclass
class Evidence:
    """What was found in each place, and what must be in none."""

    secrets: dict[str, str] = field(default_factory=lambda: {name: name for name in GIVEN})
    places: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def told(self, what: str, ended: Ended) -> None:
        """A command has ended."""
        self.codes[what] = ended.code
        self.places[f"stdout of {what}"] = ended.out
        self.places[f"log of {what}"] = ended.err

    def leaks(self, of: str) -> list[tuple[str, str]]:
        """Where something is that must not be there, of the places so called."""
        places = {place: text for place, text in self.places.items() if place.startswith(of)}
        assert places, sorted(self.places)
        return sorted(
            (place, name)
            for place, text in places.items()
            for name, secret in self.secrets.items()
            if secret in text
        )


class Operator:
    """Runs commands with every secret there can be: in variables, in ``.env`` and in files."""

    def __init__(self, folder: Path, url: str, evidence: Evidence) -> None:
        self.state = folder / "state"
        self._folder = folder
        self._evidence = evidence
        (folder / "secrets").mkdir()
        (folder / "secrets" / "datahub_api_secret_previous").write_text(PREVIOUS)
        (folder / ".env").write_text(f"DATAHUB_TOKEN={TOKEN}\n")
        self.variables = {
            "DATAHUB_BASE_URL": url,
            "DATAHUB_API_KEY": KEY,
            "DATAHUB_API_SECRET": SECRET,
            "DATAHUB_BROKER_URL": f"amqp://me:{BROKER}@127.0.0.1:9",
            "DATAHUB_STORE_URL": f"redis://me:{STORE}@127.0.0.1:9",
            "DATAHUB_SECRETS_DIR": str(folder / "secrets"),
            "DATAHUB_STATE_DIR": str(self.state),
            "DATAHUB_LOG_LEVEL": "DEBUG",
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {COLLECTOR}",
            "DATAHUB_TRANSFER__CHUNK_SIZE": "5MiB",
            "DATAHUB_STARTUP_DEADLINE": "3",
            "DATAHUB_DELIVERY_DEADLINE": "2",
        }

    def call(self, what: str, *arguments: str, **variables: str) -> Ended:
        """Run a command to its end, which is evidence."""
        ended = call(*arguments, cwd=self._folder, env={**self.variables, **variables})
        self._evidence.told(what, ended)
        return ended

    def run(self, what: str, **variables: str) -> Ended:
        """Run the subtask of that name, which is to do what it is called."""
        config = {
            "do": what,
            # Turned around, or else they would be in memory by being asked for.
            "looked_for": [secret[::-1] for secret in GIVEN if secret != THEIRS],
            "url": base64.b64encode(PLUGINS_OWN_URL.encode()).decode(),
        }
        given = ("run", PLUGIN, "--subtask-id", what, "--config", json.dumps(config))
        style = "text" if what == "raise" else "json"
        return self.call(what, *given, DATAHUB_LOG_FORMAT=style, **variables)

    def kept(self) -> str:
        """All bytes of all files in the state folder, and their names."""
        files = [path for path in self.state.rglob("*") if path.is_file()]
        assert any(path.name == "journal.sqlite3" for path in files)
        return "".join(f"{path}{path.read_bytes().decode('latin-1')}" for path in files)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("canary")
    found = Evidence()
    (folder / "input").write_bytes(b"input")
    with (
        Emulator(state_dir=folder / "datahub", key=KEY, secret=SECRET) as datahub,
        Recorder(datahub.url) as recorder,
    ):
        operator = Operator(folder, recorder.url, found)
        datahub.set_chaos({"rules": [_rule(*each) for each in _faults()]})
        with ThreadPoolExecutor(3) as pool:
            for what in FAULTS:
                datahub.store.create_subtask(what, input=folder / "input")
            done = [pool.submit(operator.run, what) for what in FAULTS]
            done += [pool.submit(go_wrong, operator) for go_wrong in WRONG]
            wait(done)
        found.seen = done[0].result().outcome["result"]["seen"]
        found.places["state after all that"] = operator.kept()
        datahub.set_chaos(None)
        found.places |= _look_back(operator, folder)
        found.places |= _page_of(datahub)
        found.places |= _service(folder, recorder.url, datahub, operator.variables)
        found.secrets |= recorder.secrets()
    return found


def _faults() -> Iterator[tuple[str, dict[str, Any]]]:
    return ((what, rule) for what, rules in FAULTS.items() for rule in rules)


def _rule(subtask: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    return {**rule, "subtask": subtask}


def _dead_proxy() -> str:
    return f"http://me:{PROXY}@127.0.0.1:{free_port()}"


WRONG: tuple[Callable[[Operator], Ended], ...] = (
    lambda operator: operator.run("no proxy", DATAHUB_PROXY=_dead_proxy()),
    lambda operator: operator.run(
        "malformed", DATAHUB_PROXY=f"http//{PROXY}", DATAHUB_BROKER_URL=f"x://{BROKER}"
    ),
    lambda operator: operator.run("wrong secret", DATAHUB_API_SECRET=PREVIOUS),
    lambda operator: operator.call("doctor", "doctor", "--json", PLUGIN),
    lambda operator: operator.call("doctor of a proxy", "doctor", DATAHUB_PROXY=_dead_proxy()),
)


def _look_back(operator: Operator, folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    operator.call("journal list", "journal", "list", "--all", "--json")
    operator.call("journal of raise", "journal", "show", "raise")
    for what in ("raise", "undelivered"):
        page = folder / f"{what}.html"
        show = ("journal", "show", what, "--json", "--html", str(page))
        operator.call(f"journal as JSON {what}", *show)
        found[f"report of {what}"] = page.read_text()
    operator.call("journal deliver", "journal", "deliver")
    return {**found, "state at the end": operator.kept()}


def _page_of(datahub: Emulator) -> dict[str, str]:
    paths = ["/", "/openapi.json", "/nothing", "/api/task/nothing"]
    paths += [f"/local/{name}" for name in ("info", "tasks", "plugins", "services", "chaos")]
    paths += [f"/local/tasks/{subtask.subtask_id}" for subtask in datahub.store.subtasks()]
    return {f"page {path}": _get(datahub.url, path) for path in paths}


def _get(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=30)
    try:
        connection.request("GET", path.replace(" ", "%20"))
        answer = connection.getresponse()
        return f"{answer.status} {answer.getheaders()} {answer.read().decode()}"
    finally:
        connection.close()


def _service(
    folder: Path, url: str, datahub: Emulator, variables: Mapping[str, str]
) -> dict[str, str]:
    state = folder / "service"
    with ServiceProcess(
        state, url, PLUGIN, "--access-log", **{**variables, "DATAHUB_STATE_DIR": str(state)}
    ) as service:
        for what in ("served", "raise"):
            subtask = f"{what} by a service"
            datahub.store.create_subtask(subtask, input=folder / "input")
            own = base64.b64encode(PLUGINS_OWN_URL.encode()).decode()
            assert service.call.create(subtask, {"do": what, "url": own}).fate == (200, 0)
            ended = functools.partial(_ended, datahub, subtask)
            eventually(ended, 60)
        said = ask_everything(service.call)
        assert service.stop() == 0
    log = "\n".join(json.dumps(line, ensure_ascii=False) for line in service.lines)
    return {"log of service": log, **{f"answer to {what}": said[what] for what in said}}


def _ended(datahub: Emulator, subtask: str) -> bool:
    return datahub.store.subtask(subtask).status in {TaskStatus.COMPLETED, TaskStatus.FAILED}


def test_what_was_meant_to_happen_happened(evidence: Evidence) -> None:
    """Or else there would be nothing to find."""
    codes = {what: evidence.codes[what] for what in FAULTS}
    assert codes == {what: EXIT_CODES.get(what, 1) for what in FAULTS}
    assert evidence.codes["no proxy"] == 69
    assert evidence.codes["malformed"] == evidence.codes["wrong secret"] == 2
    assert evidence.codes["journal deliver"] == 0
    kinds = [name.rpartition(" ")[0] for name in evidence.secrets if " " in name]
    assert {"signature", "presigned query", "of a presigned query"} <= set(kinds)
    assert kinds.count("signature") > 50
    assert kinds.count("presigned query") > 20


@pytest.mark.parametrize(
    "places",
    ["log of", "stdout of", "report of", "page", "answer to", "answer to /metrics", "state"],
)
def test_nothing_secret_is_said_shown_or_kept(evidence: Evidence, places: str) -> None:
    assert evidence.leaks(places) == []


def test_there_were_traces(evidence: Evidence) -> None:
    """They are written where the log is, and were searched with it."""
    for log in ("log of complete", "log of raise", "log of service"):
        assert '"trace_id": "0x' in evidence.places[log].replace("\\", ""), log


def test_the_log_says_what_went_wrong_all_the_same(evidence: Evidence) -> None:
    """What is cut out is the query, and nothing else."""
    for log in ("log of raise", "log of service"):
        assert "cannot fetch https://theirs.example/x?..." in evidence.places[log]


@pytest.mark.parametrize("place", ["environments", "arguments", "of a command", "context"])
def test_nothing_secret_is_handed_on(evidence: Evidence, place: str) -> None:
    seen = json.dumps(evidence.seen[place], ensure_ascii=False)
    assert {"environments": "PATH=", "arguments": "datahub-plugin", "of a command": "PATH="}.get(
        place, "TaskContext"
    ) in seen
    assert [name for name, secret in evidence.secrets.items() if secret in seen] == []


def test_nothing_secret_is_in_memory_where_hooks_run(evidence: Evidence) -> None:
    assert evidence.seen["found in memory"] == [0] * (len(GIVEN) - 1)
