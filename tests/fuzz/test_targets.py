"""Each target is fuzzed for a while, from the inputs that are kept."""

from __future__ import annotations

import functools
import hashlib
import hmac
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fuzz import answers, config_values, ranges, signing
from plugin_framework.errors import TransferError
from plugin_framework.protocol import signing as signatures
from plugin_framework.protocol.answer import Answer
from plugin_framework.protocol.signing import Inbound
from plugin_framework.service import form
from plugin_framework.transfer import plan, storage_object

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "fuzz" / "corpus"
TARGETS = {
    "signing": signing.fuzz,
    "answers": answers.fuzz,
    "ranges": ranges.fuzz,
    "config_values": config_values.fuzz,
}
SECONDS = 20
MOST_KEPT = 300 * 1024
"""Bytes of all inputs that are kept."""


def inputs(name: str) -> list[Path]:
    return sorted((KEPT / name).iterdir())


@dataclass
class Fuzzing:
    """A target that is being fuzzed."""

    process: subprocess.Popen[bytes]
    log: Path
    found: Path


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fuzzing]]:
    """All targets, side by side."""
    with ExitStack() as stack:
        started = {name: _fuzzing(name, tmp_path_factory.mktemp(name)) for name in TARGETS}
        for each in started.values():
            stack.enter_context(each.process)
            stack.callback(each.process.kill)
        yield started


def _fuzzing(name: str, folder: Path) -> Fuzzing:
    new, found, log = folder / "new", folder / "found", folder / "log"
    new.mkdir()
    found.mkdir()
    options = ["-seed=1", f"-max_total_time={SECONDS}", f"-artifact_prefix={found}/"]
    command = [sys.executable, "-m", "fuzz", name, *options, str(new), str(KEPT / name)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    return Fuzzing(process, log, found)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str, fuzzing: dict[str, Fuzzing]) -> None:
    one = fuzzing[name]
    code = one.process.wait(110)
    shown = "".join(f"\n{path.name}: {path.read_bytes()!r}" for path in one.found.iterdir())
    said = one.log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, f"{said[-3000:]}\nThe input is{shown or ' not known'}"
    assert "DONE" in said


def test_an_option_that_libfuzzer_does_not_have_is_refused() -> None:
    command = [sys.executable, "-m", "fuzz", "ranges", "-max_total_tim=5", "-runs=1"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110
    )
    assert ended.returncode == 1
    told = ended.stderr.splitlines()[-1]
    assert told == "-max_total_tim=5: libFuzzer has no such option; -help=1 lists them"


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_is_small_and_named_by_its_hash(name: str) -> None:
    for path in inputs(name):
        assert path.name == hashlib.sha1(path.read_bytes()).hexdigest()
    assert sum(path.stat().st_size for path in KEPT.rglob("*")) < MOST_KEPT


def _succeeds(answer: Answer, _now: float) -> Any:
    return answer.envelope.data if answer.envelope else None


def _agrees(source: Any, facts: storage_object.Facts) -> None:
    source.facts, source.size = facts, facts.size


def _lacks_the_last(*given: int) -> list[plan.Part]:
    return plan.ranges(*given)[:-1]


def _refuses_whole_parts(size: int, chunk: int | None, urls: int) -> list[plan.Part]:
    if chunk and size and size % chunk == 0:
        raise TransferError("one part more was counted than there is")
    return plan.parts_for(size, chunk, urls)


def _takes_any_key(
    of: Inbound, headers: Any, now: float, *, true: Any = Inbound.check_headers
) -> Any:
    ours = signing.KEY.encode()
    return true(
        of, [(n, ours if n.lower() == b"d-api-key" else value) for n, value in headers], now
    )


def _takes_the_first(headers: Any) -> list[bytes]:
    given = {name.lower(): value for name, value in reversed(list(headers))}
    if missing := set(signatures._SIGNED_BY) - given.keys():
        raise signatures.NotSignedError(f"{missing} must be given")
    return [given[name] for name in signatures._SIGNED_BY]


COMPARES_HALF = SimpleNamespace(new=hmac.new, compare_digest=lambda one, two: one[:32] == two[:32])


def _says(wrong: str, instead_of: str) -> Any:
    """The form's source with a mistake in it."""
    true = form._text_of
    return lambda source: true(source).replace(instead_of, wrong)


SABOTAGE: list[tuple[str, object, str, Any]] = [
    ("signing", Inbound, "check", lambda *_: 0),
    ("signing", signing, "signature_headers", lambda *_: {"D-SIGNATURE": ""}),
    ("signing", Inbound, "check_headers", _takes_any_key),
    ("signing", signatures, "hmac", COMPARES_HALF),
    ("signing", signatures, "_only", _takes_the_first),
    ("answers", answers, "data_of", _succeeds),
    ("answers", answers, "retry_after", lambda *_: 301.0),
    ("answers", answers, "parts_for", _refuses_whole_parts),
    ("ranges", ranges, "ranges", _lacks_the_last),
    ("ranges", ranges, "parts_for", _refuses_whole_parts),
    ("ranges", storage_object.StorageObject, "agree", _agrees),
    ("config_values", config_values, "parse_config", lambda plugin, _config: plugin.Config()),
    ("config_values", config_values, "read", lambda model, _body: model(subtask_id="s")),
    ("config_values", form, "_text_of", _says("value.length", "[...value].length")),
    ("config_values", form, "_text_of", _says("value <= exclusiveM", "value < exclusiveM")),
]


def run_all(name: str) -> None:
    for path in inputs(name):
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize(("name", "owner", "what", "broken"), SABOTAGE)
def test_a_target_notices_what_is_wrong(
    name: str, owner: object, what: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, attribute, value in (*signing.SETTING, *ranges.SETTING):
        monkeypatch.setattr(place, attribute, value)
    run_all(name)
    monkeypatch.setattr(config_values, "_form", functools.cache(config_values._form.__wrapped__))
    monkeypatch.setattr(owner, what, broken)
    with pytest.raises(AssertionError):
        run_all(name)
