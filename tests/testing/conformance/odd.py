"""A plugin that is odd in the way that its config asks for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from plugin_framework import PluginConfig, PluginError, TaskContext, TaskResult
from tests.testing.conformance.bad.lines import Lines


class Odd(Lines):
    """Counts the lines of a text, and does something else first."""

    class Config(PluginConfig):
        does: str = "nothing"
        target: str = ""
        password: SecretStr = SecretStr("")

    def process(self, ctx: TaskContext[Config]) -> Any:
        return getattr(self, ctx.config.does)(ctx)

    def on_cancel(self, ctx: TaskContext[Config]) -> None:
        if ctx.config.does == "fail_after_cancel":
            raise LookupError("no such table")

    def nothing(self, ctx: TaskContext[Config]) -> Any:
        return super().process(ctx)

    fail_after_cancel = nothing

    def come_to_no_checkpoint(self, ctx: TaskContext[Config]) -> Any:
        return {"total_counts": 1, "success_counts": True}

    def run_a_command(self, ctx: TaskContext[Config]) -> Any:
        ctx.run([sys.executable, "-c", ""])
        return super().process(ctx)

    def refuse(self, ctx: TaskContext[Config]) -> Any:
        raise PluginError("this is no such file")

    def crash(self, ctx: TaskContext[Config]) -> Any:
        os._exit(7)

    def take_one_for_the_whole(self, ctx: TaskContext[Config]) -> Any:
        ctx.progress(0.5)
        ctx.progress(1)
        return {}

    def fall_back(self, ctx: TaskContext[Config]) -> Any:
        ctx.progress(50)
        ctx.progress(10)

    def have_a_shell_run_it(self, ctx: TaskContext[Config]) -> Any:
        subprocess.run(f'wc -l "{ctx.download()}"', shell=True, check=False, capture_output=True)
        return super().process(ctx)

    def print_the_environment(self, ctx: TaskContext[Config]) -> Any:
        print(dict(os.environ))  # noqa: T201 - as authors do
        return super().process(ctx)

    def write_to_the_target(self, ctx: TaskContext[Config]) -> Any:
        Path(ctx.config.target).write_text("here\n", "utf-8")
        return super().process(ctx)

    def wait_for_ever(self, ctx: TaskContext[Config]) -> Any:
        Path(ctx.config.target).touch()
        while True:
            threading.Event().wait(0.01)
            ctx.checkpoint()

    def have_a_program_write(self, ctx: TaskContext[Config]) -> Any:
        subprocess.run(["touch", "left-here"], check=True)
        return super().process(ctx)

    def use_temporary_files(self, ctx: TaskContext[Config]) -> Any:
        subprocess.run(["sh", "-c", 'rm "$(mktemp)"'], check=True)
        (ctx.work_dir / "notes").write_text("mine\n", "utf-8")
        return super().process(ctx)

    def tell_the_password(self, ctx: TaskContext[Config]) -> Any:
        return TaskResult(password=ctx.config.password.get_secret_value())

    def expect_no_folder(self, ctx: TaskContext[Config]) -> Any:
        (ctx.work_dir / "parts").mkdir()
        return super().process(ctx)

    def leave_a_line_out(self, ctx: TaskContext[Config]) -> Any:
        """Take each line for done before it is written."""
        lines = ctx.download().read_bytes().splitlines(keepends=True)
        with (ctx.work_dir / "copy.txt").open("ab", buffering=0) as copy:
            for number in range(ctx.state.get("begun", 0), len(lines)):
                ctx.save_state(begun=number + 1)
                ctx.checkpoint()
                copy.write(lines[number])
        ctx.upload(ctx.work_dir / "copy.txt")
        return self.stamp_the_time(ctx)

    def stamp_the_time(self, ctx: TaskContext[Config]) -> Any:
        (ctx.work_dir / "stamp.txt").write_text(str(time.time_ns()), "utf-8")
        ctx.upload(ctx.work_dir / "stamp.txt")
        return super().process(ctx)

    def forget_counts(self, ctx: TaskContext[Config]) -> Any:
        """Count what is done now, and not what was done before the kill."""
        lines = ctx.download().read_bytes().splitlines()
        done = ctx.state.get("done", 0)
        for number, _ in enumerate(lines[done:], done + 1):
            ctx.save_state(done=number)
            ctx.checkpoint()
        return TaskResult(total_counts=len(lines) - done, success_counts=len(lines) - done)
