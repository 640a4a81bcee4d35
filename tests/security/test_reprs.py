"""FAULTS.md, row 82: no object of the framework shows a secret, nor does any error on its way out.

While a subtask runs in this process, at each thing that is observed of it, every object of the
framework that is alive is asked for its repr.
"""

from __future__ import annotations

import gc
import pickle
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from plugin_framework import DatahubPlugin, TaskContext, hookimpl
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import DatahubError
from plugin_framework.settings import Settings, load_settings
from plugin_framework.transfer.engine import Engine, EngineOptions
from tests.security.rebinding import Body
from tests.security.recorder import Recorder

KEY, SECRET, PREVIOUS, TOKEN, BROKER, STORE, PROXY, QUERY = (
    f"c4n4ry-{name}"
    for name in ("key", "secret", "previous", "token", "broker", "store", "proxy", "query")
)
GIVEN = {name: name for name in (KEY, SECRET, PREVIOUS, TOKEN, BROKER, STORE, PROXY, QUERY)}
OURS = ("plugin_framework.", "tests.security.")


class Sends(DatahubPlugin):
    """Fetches, sends, and lets what runs be looked at meanwhile."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        ctx.upload(ctx.download(), "whole")
        big = ctx.work_dir / "big"
        with big.open("wb") as file:
            file.truncate(11 * 1024 * 1024)
        ctx.upload(big)
        return {"context": repr(ctx)}


class Looker:
    """An observer that takes the repr of whatever there is, again and again."""

    def __init__(self) -> None:
        self.shown: dict[str, set[str]] = {}
        self.looks = 0
        self._looking = threading.Lock()

    @hookimpl
    def datahub_transfer(self) -> None:
        self.look()

    @hookimpl
    def datahub_status_changed(self) -> None:
        self.look()

    def look(self) -> None:
        with self._looking:
            self.looks += 1
            for each in gc.get_objects():
                kind = type(each)
                if str(kind.__module__).startswith(OURS) and not isinstance(each, type):
                    self.shown.setdefault(kind.__qualname__, set()).add(_shown(each))


def _shown(thing: object) -> str:
    try:
        return f"{thing!r} {thing}"
    except Exception as error:  # noqa: BLE001 - half made, in another thread
        return repr(error)


def settings(state: Path, url: str, **changes: Any) -> Settings:
    given = {
        "base_url": url,
        "api_key": SecretStr(KEY),
        "api_secret": SecretStr(SECRET),
        "api_secret_previous": SecretStr(PREVIOUS),
        "token": SecretStr(TOKEN),
        "broker_url": SecretStr(f"amqp://u:{BROKER}@h/v"),
        "store_url": SecretStr(f"redis://u:{STORE}@h/0"),
        "state_dir": state,
        "isolation": "thread",
        "transfer": {"chunk_size": "5MiB"},
    }
    return load_settings(**{**given, **changes})


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Looker, dict[str, str]]:
    folder = tmp_path_factory.mktemp("reprs")
    (folder / "input").write_bytes(b"input")
    looker = Looker()
    with (
        Emulator(state_dir=folder / "datahub", key=KEY, secret=SECRET) as datahub,
        Recorder(datahub.url) as recorder,
    ):
        datahub.store.create_subtask("s", input=folder / "input")
        given = settings(folder / "state", recorder.url)
        observers = {"looker": looker}
        with LocalEngine(Sends, given, observers=observers) as engine:
            outcome = engine.run("s").execute()
        assert outcome.exit_code == 0, outcome
        looker.look()
    return looker, {**GIVEN, **recorder.secrets()}


def test_no_object_shows_a_secret(looked: tuple[Looker, dict[str, str]]) -> None:
    looker, secrets = looked
    # Among others. They are alive at one look or another.
    assert {"Settings", "Engine", "DatahubClient", "TaskContext", "Run"} <= looker.shown.keys()
    assert looker.looks > 3
    assert len(secrets) > len(GIVEN) + 10
    found = {
        (kind, name)
        for kind, texts in looker.shown.items()
        for name, secret in secrets.items()
        if any(secret in text for text in texts)
    }
    assert found == set()


def test_settings_show_no_secret_in_any_form(tmp_path: Path) -> None:
    given = settings(tmp_path, "http://127.0.0.1:9", proxy=SecretStr(f"http://u:{PROXY}@h:1"))
    forms = [repr(given), str(given), given.model_dump_json(), str(given.model_dump())]
    assert [name for name in GIVEN for form in forms if name in form] == []
    assert "**********" in repr(given)


@pytest.mark.parametrize(
    "url",
    [
        f"https://u:{QUERY}@h/x",
        f"http://127.0.0.1:9/x?X-Amz-Signature={QUERY}",
        f"http://localhost:9/x?{QUERY}",
        f"http://name.invalid/x?Signature={QUERY}",
        f"file:///x?{QUERY}",
        f"http://h/x y?{QUERY}",
        f"http://h/x#{QUERY}",
        f"http://8.8.8.8/x?X-Amz-SignedHeaders=a%3Bhost&X-Amz-Signature={QUERY}",
    ],
)
@pytest.mark.parametrize("proxy", [None, f"http://u:{PROXY}@127.0.0.1:9", f"http://u:{PROXY} x@h"])
def test_no_error_of_a_transfer_shows_one(url: str, proxy: str | None) -> None:
    engine = Engine(EngineOptions(proxy=proxy, allow_private=proxy is None))
    with pytest.raises(DatahubError) as caught:
        engine.get(url, sink=Body(), abort=lambda: False)
    told = [str(caught.value), repr(caught.value), caught.value.remedy, repr(engine.options)]
    told += traceback.format_exception(caught.value)
    told.append(repr(pickle.dumps((caught.value.args, vars(caught.value)))))
    assert [name for name in (QUERY, PROXY) for text in told if name in text] == []
    # Nor does what it came of, which other tools look into.
    assert caught.value.__cause__ is None
