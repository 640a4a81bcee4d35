"""What type checkers must refuse; an ignore that is not needed is an error to both of them."""

from __future__ import annotations

from plugin_framework import DatahubPlugin, PluginConfig, TaskContext, TaskResult, run_local


class SizeConfig(PluginConfig):
    """One field."""

    size: int = 1


class OtherConfig(PluginConfig):
    """Another one."""

    name: str = ""


class Misspelt(DatahubPlugin[SizeConfig]):
    def process(self, ctx: TaskContext[SizeConfig]) -> TaskResult:
        ctx.config.sise  # type: ignore[attr-defined]  # noqa: B018 - it is no field
        ctx.progres(50)  # type: ignore[attr-defined]  # it is no method
        ctx.progress("half")  # type: ignore[arg-type]  # it is no number
        return TaskResult()


class OfAnother(DatahubPlugin[SizeConfig]):
    def process(self, ctx: TaskContext[OtherConfig]) -> None:  # type: ignore[override]  # not so
        ctx.checkpoint()


class Answers(DatahubPlugin[SizeConfig]):
    def process(self, ctx: TaskContext[SizeConfig]) -> str:  # type: ignore[override]  # no result
        return ctx.subtask_id


class NoConfig(DatahubPlugin[str]):  # type: ignore[type-var]  # brackets take a model
    """Refused at run time, too."""


def misspelt() -> None:
    run_local(Misspelt, inputs="file", out="folder")  # type: ignore[call-arg]  # no such parameter
