"""A context for a single hook, behind which nothing runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_framework import PluginError, TaskCancelled, TaskStatus, TransferError
from plugin_framework.errors import InvalidConfigError, InvalidResultError
from plugin_framework.testing import ContextProbe
from plugin_framework.testing import make_context as make_alone
from tests.testing.kit.plugins import Lines

Make = Callable[..., ContextProbe]


def test_a_hook_and_what_it_did(make_context: Make) -> None:
    before = set(threading.enumerate())
    ctx = make_context(plugin=Lines, input=b"one\ntwo\n", state={"done": 1}, attempt=2)
    assert Lines().process(ctx).total_counts == 2
    assert (ctx.attempt, ctx.saved, ctx.progressed) == (2, [{"done": 2}], [100.0])
    assert (ctx.output_dir / "counts" / "lines.txt").read_text() == "2"
    assert set(threading.enumerate()) <= before


def test_its_config(make_context: Make) -> None:
    ctx = make_context(plugin=Lines, config={"fail": 1}, input=b"one\n")
    with pytest.raises(PluginError, match="line 1"):
        Lines().process(ctx)
    assert make_context(config=Lines.Config(fail=7)).config.fail == 7
    with pytest.raises(InvalidConfigError, match="did you mean fail"):
        make_context(plugin=Lines, config={"fial": 1})


def test_files(make_context: Make, tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(b"a,b\n1,2\n")
    ctx = make_context(input=source)
    assert (ctx.download().name, ctx.download("other").name) == ("table.csv", "other")
    with ctx.open_input() as file:
        assert (file.seek(4), file.read()) == (4, b"1,2\n")
    ctx.upload(source, "up/table.csv")
    with ctx.open_output("made.bin", size=3) as made:
        made.write(b"abc")
    assert {name: path.read_bytes() for name, path in ctx.uploaded.items()} == {
        "up/table.csv": b"a,b\n1,2\n",
        "made.bin": b"abc",
    }
    with pytest.raises(RuntimeError), ctx.open_output("left.bin") as made:
        raise RuntimeError
    with pytest.raises(TransferError, match="cannot be uploaded"):
        ctx.upload(tmp_path / "missing")
    with pytest.raises(TransferError, match="give make_context an input"):
        make_context().download()


def test_pause_and_cancel(make_context: Make) -> None:
    ctx = make_context()
    ctx.pause()
    ctx.checkpoint("here")
    assert ctx.confirmed == [TaskStatus.PAUSED, TaskStatus.RUNNING]
    ctx.cancel()
    with pytest.raises(TaskCancelled):
        ctx.checkpoint()


def test_what_is_no_json_is_refused_as_it_is_by_datahub(make_context: Make) -> None:
    with pytest.raises(InvalidResultError):
        make_context().save_state(numbers={1, 2})


def test_its_folder_goes_with_it() -> None:
    ctx = make_alone()
    folder = ctx.work_dir
    assert folder.is_dir()
    del ctx
    assert not folder.exists()
