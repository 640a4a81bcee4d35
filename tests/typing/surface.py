"""Checked by mypy and pyright, never run: what authors write needs no cast and no ignore."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar, assert_type

from plugin_framework import (
    DatahubError,
    DatahubPlugin,
    Field,
    PluginConfig,
    PluginError,
    Settings,
    TaskContext,
    TaskOutcome,
    TaskResult,
    TaskStatus,
    UploadedFile,
    hookimpl,
    run_local,
    run_task,
)
from plugin_framework.errors import Code


class Plain(DatahubPlugin):
    """A context without a parameter is complete."""

    def process(self, ctx: TaskContext) -> TaskResult:
        assert_type(ctx.download(), Path)
        assert_type(ctx.upload("file"), UploadedFile)
        with ctx.open_output("table.csv", size=5) as file:
            assert_type(file.write(b"a,b\r\n"), int)
        return TaskResult(total_counts=1, extra="field")


class Typed(DatahubPlugin):
    """With one, the config has its type."""

    class Config(PluginConfig):
        """A number."""

        number: int = 1

    async def on_start(self, ctx: TaskContext[Config]) -> None:
        assert_type(ctx.config.number, int)

    async def process(self, ctx: TaskContext[Config]) -> Mapping[str, Any]:
        for item in ctx.track(["a", "b"]):
            assert_type(item, str)
        return {"total_counts": 2}

    def on_finish(self, ctx: TaskContext[Config], status: TaskStatus) -> None:
        assert_type(status.is_final, bool)


class SizeConfig(PluginConfig):
    """Brackets say of which type the config is."""

    size: int = Field(1, ge=1)


class Bracketed(DatahubPlugin[SizeConfig]):
    """The config's type comes from the brackets."""

    def process(self, ctx: TaskContext[SizeConfig]) -> TaskResult | None:
        assert_type(ctx.config, SizeConfig)
        assert_type(ctx.config.size, int)
        ctx.save_state(done=ctx.config.size)
        with ctx.open_input() as file:
            assert_type(file.read(), bytes)
        ctx.checkpoint("after-header")
        assert_type(ctx.cancelled, bool)
        assert_type(ctx.state, dict[str, Any])
        assert_type(ctx.run(["true"]).returncode, int)
        raise PluginError("the table is empty")

    def on_failure(self, ctx: TaskContext[SizeConfig], error: BaseException) -> None:
        assert_type(ctx.config.size, int)

    async def on_payment(self, tx_hash: str, subtask_id: str) -> bool:
        return tx_hash != subtask_id


ConfigT = TypeVar("ConfigT", bound=SizeConfig)


class Base(DatahubPlugin[ConfigT]):
    """A base that leaves the config open."""

    def on_start(self, ctx: TaskContext[ConfigT]) -> None:
        assert_type(ctx.config.size, int)


class Derived(Base[SizeConfig]):
    """And a plugin that settles it."""

    def process(self, ctx: TaskContext[SizeConfig]) -> dict[str, Any]:
        return {"total_counts": ctx.config.size}


class Extension:
    """Extensions need no base class."""

    @hookimpl
    def datahub_progress(self, percent: int) -> None:
        """Observe."""

    @hookimpl(wrapper=True)
    def process(self, ctx: TaskContext) -> Generator[None, Any, Any]:
        """Wrap."""
        ctx.log.info("begins")
        return (yield)


def programmatic() -> None:
    assert_type(run_task(Plain, subtask_id="s"), TaskOutcome)
    assert_type(run_local(Typed, input="file", out="folder").status, TaskStatus)
    outcome = run_local(Bracketed, input=Path("file"), out=Path("folder"), config={"size": 2})
    assert_type(outcome.outputs, tuple[UploadedFile, ...])
    assert_type(outcome.result, dict[str, Any] | None)
    assert_type(outcome.exit_code, int)
    assert_type(Settings().heartbeat_seconds, float)


def errors(error: DatahubError) -> str:
    assert_type(error.code, Code)
    return f"{error} [{error.code}]: {error.remedy}"
