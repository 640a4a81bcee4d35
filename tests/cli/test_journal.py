"""The journal's commands: what is left, what happened, deliver it, tidy up."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.journal.journal import Journal
from plugin_framework.journal.queue import Accepted, Changes
from plugin_framework.lifecycle.folders import lock_file_of, subtask_lock, work_dir_of
from tests.cli.calling import Ended, call
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, eventually, finish, run, start
from tests.strict_datahub import StrictDatahub

RUNNING = json.dumps({"subtask_id": SUBTASK, "status": 1}).encode()
RESULT, STATUS = "/api/task/result", "/api/task/update_status"


@pytest.fixture
def hub() -> Iterator[StrictDatahub]:
    with StrictDatahub(SUBTASK) as opened:
        yield opened
        assert opened.violations == []


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def journal(state: Path, *arguments: str | Path, hub: StrictDatahub | None = None) -> Ended:
    env = {
        "DATAHUB_STATE_DIR": str(state),
        "DATAHUB_LOG_FORMAT": "text",
        "DATAHUB_STARTUP_DEADLINE": "0.3",
        "DATAHUB_DELIVERY_DEADLINE": "2",
        **({"DATAHUB_BASE_URL": hub.url} if hub else {}),
    }
    return call("journal", *arguments, cwd=state.parent, env=env)


def keep_a_result(hub: StrictDatahub, state: Path) -> None:
    """Have a run end with its result undelivered, and Datahub well again."""
    state.mkdir()
    hub.fail_next(RESULT, 50, "503")
    assert run(plugins.Quick, hub, state, delivery_deadline=0.2, isolation="thread").exit_code == 75
    eventually(lambda: hub._next_fault(RESULT) is None)


def undelivered(state: Path, *subtasks: str) -> None:
    """A journal of subtasks that have ended, and whose reports were never sent."""
    with closing(Journal(state / "journal.sqlite3")) as opened:
        for subtask in subtasks:
            opened.start_attempt(subtask, task_id=None, plugin="p", config={})
            ending: dict[str, Any] = {
                "result": None,
                "outputs": [],
                "error": "it broke",
                "attempt": 1,
            }
            body = json.dumps({"subtask_id": subtask, "status": 5}).encode()
            opened.add_report(subtask, status=5, path=STATUS, body=body, outcome=ending)
            work_dir_of(state, subtask).mkdir(parents=True)


def test_what_waits_for_a_reason_is_counted(state: Path) -> None:
    with closing(Journal(state / "journal.sqlite3")) as opened:
        added = [Accepted(n, f"s{n}", None, "p" if n < 3 else "q", "{}") for n in (1, 2, 3)]
        opened.queue.write(Changes(added=added))
        opened.queue.explain("p", "no worker offers plugin p")
    listed = journal(state, "list")
    assert (listed.code, listed.out) == (0, "")
    assert "2 of plugin p wait: no worker offers plugin p\n" in listed.err
    assert "plugin q" not in listed.err
    listed = journal(state, "list", "--all")
    assert listed.err == ""
    lines = listed.out.splitlines()
    assert [line.endswith("no worker offers plugin p") for line in lines] == [
        False,
        True,
        True,
        False,
    ]


def settle(state: Path, subtask: str, fate: str, days_ago: float) -> None:
    with closing(Journal(state / "journal.sqlite3")) as opened, opened._db.write() as db:
        db.execute(
            "UPDATE reports SET fate = ?, settled = created - ? WHERE subtask_id = ?",
            (fate, days_ago * 86_400, subtask),
        )


def test_what_a_subtask_has_in_storage_is_shown(hub: StrictDatahub, state: Path) -> None:
    state.mkdir()
    assert run(plugins.OneOutput, hub, state, isolation="thread").exit_code == 0
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert f"\n{sha256}      3  one\n" in f"{journal(state, 'show', SUBTASK).out}\n"
    shown = json.loads(journal(state, "show", SUBTASK, "--json").out)
    assert shown["outputs"] == [{"name": "one", "size": 3, "sha256": sha256}]


def test_a_kept_result_is_listed_and_delivered_without_running_anything(
    hub: StrictDatahub, state: Path
) -> None:
    keep_a_result(hub, state)
    listed = journal(state, "list")
    assert listed.code == 0
    assert re.search(
        rf"^{SUBTASK} +completed +undelivered .* 1 +POST .*HTTP 503", listed.out, re.MULTILINE
    )
    (record,) = json.loads(journal(state, "list", "--json").out)
    assert (record["subtask_id"], record["state"], record["tries"]) == (SUBTASK, "undelivered", 1)
    delivered = journal(state, "deliver", hub=hub)
    assert (delivered.code, delivered.out) == (0, f"{SUBTASK}  delivered\n")
    assert hub.statuses == [1, 3]
    assert hub.repeats == 0
    assert (state / "runs").read_text() == "."
    assert journal(state, "list").out == ""
    assert f"{SUBTASK}  completed  delivered" in journal(state, "list", "--all").out
    again = journal(state, "deliver", SUBTASK, hub=hub)
    assert (again.code, again.out) == (0, f"{SUBTASK}  delivered: nothing to deliver\n")


def test_unreachable_and_refused_and_left(hub: StrictDatahub, state: Path) -> None:
    keep_a_result(hub, state)
    hub.stop_listening()
    ended = journal(state, "deliver", hub=hub)
    assert ended.code == 69
    assert "Traceback" not in ended.err
    assert [line.startswith("datahub-plugin: ") for line in ended.err.splitlines()].count(True) == 1
    hub.start_listening()
    hub.fail_next(RESULT, 50, "503")
    left = journal(state, "deliver", hub=hub)
    assert left.code == 75
    assert left.out.startswith(f"{SUBTASK}  not delivered: ")
    eventually(lambda: hub._next_fault(RESULT) is None)
    hub.fail_next(RESULT, 1, "code1")
    refused = journal(state, "deliver", hub=hub)
    assert refused.code == 75
    assert refused.out.startswith(f"{SUBTASK}  not delivered: ")
    assert f"{SUBTASK}  completed  refused" in journal(state, "list").out


def test_a_running_subtask_is_left_to_its_run(hub: StrictDatahub, state: Path) -> None:
    undelivered(state, SUBTASK)
    with subtask_lock(state, SUBTASK):
        ended = journal(state, "deliver", hub=hub)
        pruned = journal(state, "prune", "--force", SUBTASK)
    assert ended.code == pruned.code == 75
    assert "already running here" in ended.out
    assert "already running here" in pruned.out
    assert hub.statuses == []
    assert json.loads(journal(state, "list", "--json").out)


def test_delivering_does_not_hide_that_a_run_was_killed(hub: StrictDatahub, state: Path) -> None:
    state.mkdir()
    command = start(plugins.Steps, hub, state)
    eventually((state / "started").exists)
    hub.wait_for(lambda: hub.heartbeats)
    command.send_signal(signal.SIGKILL)
    finish(command)
    assert journal(state, "deliver", SUBTASK, hub=hub).code == 0
    with closing(Journal(state / "journal.sqlite3")) as opened:
        opened.add_report(SUBTASK, status=1, path=STATUS, body=RUNNING)
    with subtask_lock(state, SUBTASK, to_run=False) as was_killed:
        assert was_killed
    outcome = run(plugins.Steps, hub, state, on_interrupted="fail", isolation="thread")
    assert outcome.error == "an attempt before this one was killed"
    shown = journal(state, "show", SUBTASK).out
    assert "the run before was killed" in shown
    assert re.search(r"heartbeats: \d+, the last at \+", shown)


def test_the_timeline_as_text_json_and_a_page(hub: StrictDatahub, state: Path) -> None:
    keep_a_result(hub, state)
    text = journal(state, "show", SUBTASK).out
    assert re.search(r"^status +completed, undelivered$", text, re.MULTILINE)
    assert re.search(r"^20\S+ \S+ +\+0\.000  attempt 1$", text, re.MULTILINE)
    assert "gave up delivering: POST" in text
    facts = json.loads(journal(state, "show", SUBTASK, "--json").out)
    assert facts["state"] == "undelivered"
    assert [event["at"] for event in facts["events"]] == sorted(e["at"] for e in facts["events"])
    ended = journal(state, "show", SUBTASK, "--html", "page.html")
    assert (ended.code, ended.out) == (0, "")
    both = journal(state, "show", SUBTASK, "--html", "both.html", "--json")
    assert json.loads(both.out) == facts
    assert "<svg" in (state.parent / "both.html").read_text()
    page = (state.parent / "page.html").read_text()
    assert "<svg" in page
    assert page.count("<tr>") == 1 + len(facts["events"])


def test_the_page_escapes_everything_and_loads_nothing(state: Path) -> None:
    evil = '"><script>alert(1)</script>\x1b[2J'
    undelivered(state, evil)
    with closing(Journal(state / "journal.sqlite3")) as opened:
        opened.timeline.note(
            evil, "transfer", direction="upload", name=evil, size=1, seconds=0.1
        )  # fmt: skip
        opened.timeline.note(evil, "undelivered", error="at https://x.example/a?X-Sig=1")
    assert journal(state, "show", evil, "--html", "page.html").code == 0
    page = (state.parent / "page.html").read_text()
    found = Tags()
    found.feed(page)
    assert not found.names & {"script", "a", "img", "link", "iframe", "object"}
    assert not found.attributes & {"src", "href", "style", "onload"}
    assert "\x1b" not in page
    assert "X-Sig" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert "prefers-color-scheme: dark" in page
    assert "\x1b" not in journal(state, "show", evil).out
    assert "\x1b" not in journal(state, "list").out


class Tags(HTMLParser):
    """The names of all elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_prune_removes_what_is_settled_and_old(state: Path) -> None:
    undelivered(state, "kept", "old", "refused", "young")
    settle(state, "old", "delivered", 31)
    settle(state, "refused", "refused", 31)
    settle(state, "young", "delivered", 29)
    with subtask_lock(state, "old"):
        pass
    assert journal(state, "prune").out == "old  removed\nrefused  removed\n"
    assert not work_dir_of(state, "old").exists()
    assert not lock_file_of(state, "old").exists()
    assert work_dir_of(state, "young").exists()
    assert journal(state, "prune", "--older-than", "28.5").out == "young  removed\n"
    pruned = journal(state, "prune", "--all")
    assert (pruned.code, pruned.out) == (0, "")
    assert journal(state, "prune", "--force", "kept").out == "kept  removed\n"
    assert json.loads(journal(state, "list", "--all", "--json").out) == []
    assert list((state / "work").iterdir()) == list((state / "locks").iterdir()) == []


def test_prune_all_takes_what_is_settled_however_young(state: Path) -> None:
    undelivered(state, "kept", "young")
    settle(state, "young", "delivered", 0)
    assert journal(state, "prune", "--all").out == "young  removed\n"


def test_prune_with_nothing_to_do_says_so(state: Path) -> None:
    undelivered(state, "kept")
    pruned = journal(state, "prune", "--older-than", "3")
    assert (pruned.code, pruned.out) == (0, "")
    nothing = "nothing to remove: no subtask has ended with its reports settled"
    assert pruned.err == f"{nothing} 3 days ago or earlier\n"
    assert journal(state, "prune", "--all").err == f"{nothing}\n"


@pytest.mark.parametrize("command", [("list",), ("list", "--all"), ("deliver",), ("prune",)])
def test_where_there_is_no_journal_none_is_made(command: tuple[str, ...], state: Path) -> None:
    ended = journal(state, *command)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"there is no journal at {state / 'journal.sqlite3'}\n"
    assert list(state.parent.iterdir()) == []


@pytest.mark.parametrize("command", [("show",), ("deliver",), ("prune", "--force")])
def test_where_there_is_no_journal_no_subtask_is_known(
    command: tuple[str, ...], state: Path
) -> None:
    ended = journal(state, *command, "s")
    assert ended.code == 2
    (problem,) = ended.problems
    path = state / "journal.sqlite3"
    assert problem.startswith(f"there is no journal at {path}: expected DATAHUB_STATE_DIR ")
    assert ended.codes == ["DH-102"]
    assert list(state.parent.iterdir()) == []


def test_an_empty_journal_is_named(state: Path) -> None:
    undelivered(state)
    assert journal(state, "list").err == f"the journal {state / 'journal.sqlite3'} is empty\n"
    assert journal(state, "list", "--json").out == "[]\n"


GIVE_ONE = "give one of --all, --older-than and --force"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("show", "nobody"), "the journal {path} knows no subtask nobody"),
        (("show", "\udcff"), "the journal {path} knows no subtask "),
        (("deliver", "nobody"), "DATAHUB_BASE_URL is not set"),
        (("prune", "--force", "nobody"), "the journal {path} knows no subtask nobody"),
        (("prune", "--older-than", "-1"), "Invalid value for '--older-than': -1: expected"),
        (("prune", "--older-than", "nan"), "Invalid value for '--older-than': nan: expected"),
        (("prune", "--older-than", "inf"), "Invalid value for '--older-than': inf: expected"),
        (("prune", "--older-than", "much"), "Invalid value for '--older-than': 'much'"),
        (("prune", "--all", "--older-than", "3"), GIVE_ONE),
        (("prune", "--all", "--force", "s"), GIVE_ONE),
        (("prune", "--older-than", "30", "--force", "s"), GIVE_ONE),
        (("show", "s", "--html", "no/such/page.html"), "the page no/such/page.html cannot be"),
    ],
)
def test_one_problem(arguments: tuple[str, ...], problem: str, state: Path) -> None:
    undelivered(state, "s")
    ended = journal(state, *arguments)
    assert ended.code == 2
    assert len(ended.problems) == 1
    assert ended.problems[0].startswith(problem.format(path=state / "journal.sqlite3"))


def test_a_damaged_journal_is_said_loudly(state: Path) -> None:
    state.mkdir()
    (state / "journal.sqlite3").write_bytes(b"no database" * 1000)
    ended = journal(state, "list")
    assert ended.code == 0
    assert "ERROR" in ended.err
    assert "undelivered reports may be in it" in ended.err
    assert list(state.glob("journal.sqlite3.corrupt-*"))
