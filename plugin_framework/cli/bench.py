"""``emulator bench``: offers a service tasks at a rate, to see how large a deployment must be."""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from plugin_framework.cli.logs import tell
from plugin_framework.cli.streams import own_stdout

if TYPE_CHECKING:
    from plugin_framework.emulator.api import Credentials
    from plugin_framework.emulator.bench.figures import Figures
    from plugin_framework.emulator.server import Emulator
    from plugin_framework.settings import Settings

SYNTHETIC = "plugin_framework.testing.synthetic:Synthetic"
DEFAULT_PORT = 8765


class Interrupted(KeyboardInterrupt):
    """A signal came: what was measured so far is shown."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code: int = 128 + number


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line; ``config`` as it goes to each task."""

    name: str | None
    service: str | None
    plugin: str | None
    tasks: int
    rate: float
    input: Path | None
    config: dict[str, Any]
    out: Path | None
    as_json: bool
    port: int
    wait: float

    @property
    def title(self) -> str:
        """What the picture is called."""
        return (
            f"{self.plugin or self.service or self.name or 'synthetic plugin'}: {self.tasks} tasks"
        )


def _number(_context: click.Context, parameter: click.Parameter, given: float) -> float:
    if math.isnan(given):  # it is in every range
        raise click.BadParameter("expected a number", param=parameter)
    return given


@click.command("bench", short_help="Offer a service tasks at a rate, and measure what it does.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--service", metavar="URL", help="Measure a service that runs already.")
@click.option("--plugin", metavar="NAME", help="Which of its plugins, where it has several.")
@click.option(
    "--tasks",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="How many to offer.",
)
@click.option(
    "--rate",
    metavar="R",
    type=click.FloatRange(0, 10_000, min_open=True),
    callback=_number,
    default=1.0,
    show_default=True,
    help="How many a second, whatever is answered.",
)
@click.option(
    "--input",
    "source",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    help="The input of each task.",
)
@click.option("--config", metavar="FILE|JSON", help="The config of each task.")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="One value of the config: JSON, or else text.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw a picture (SVG).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and no table.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Where a --service that runs already reports to.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    callback=_number,
    default=600.0,
    show_default=True,
    help="How long after the last offer results are waited for.",
)
def bench_command(
    source: Path | None, config: str | None, assignments: tuple[str, ...], **given: Any
) -> None:
    """Offer tasks at a rate, and print how long each step took and what was the limit.

    The service of plugin NAME is started for it (an installed plugin, or a reference such as
    package.module:Class); without NAME that of a built-in plugin, whose config is seconds,
    input_bytes, output_bytes and heartbeats. Or the one at --service is measured, with the key and
    secret of the environment: it must report to http://127.0.0.1:PORT, where a Datahub is served
    meanwhile (its DATAHUB_BASE_URL).

    Each task is offered when it is due, however long earlier answers take, and all its times count
    from then. Ctrl-C ends it early, and prints what was measured so far.
    """
    from plugin_framework.cli.config import read_config  # noqa: PLC0415 - loaded late

    if given["service"] and given["name"]:
        raise click.UsageError("give NAME or --service, not both")
    if given["plugin"] and not given["service"]:
        raise click.UsageError("--plugin is one of a --service; else give NAME")
    options = Options(input=source, config=read_config(config, assignments), **given)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    with own_stdout() as say:
        code = _measure(options, say)
    sys.exit(code)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _measure(options: Options, say: Callable[[str], None]) -> int:
    """Measure, and print what came of it; returns the exit code."""
    from plugin_framework.emulator.bench.run import Bench  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.bench.target import find_target  # noqa: PLC0415 - loaded late

    settings = _settings(own_service=options.service is not None)
    credentials = _credentials(options, settings)
    code = 0
    with ExitStack() as made:
        folder = Path(made.enter_context(_scratch()))
        options = _with_input(options, folder)
        _check_writable(options.out)
        datahub = _datahub(made, options, folder / "datahub", credentials)
        service = None
        if options.service is None:
            assert credentials is not None
            name = options.name or SYNTHETIC
            service = Service(name, datahub.url, credentials, folder / "service")
            made.enter_context(service)
        url = options.service or (service.url if service else "")
        target = find_target(url, options.plugin, credentials, options.config)
        tell(f"{options.tasks} tasks are offered, {options.rate:g} a second; Ctrl-C ends it early")
        bench = Bench(
            target,
            folder / "datahub",
            datahub.store,
            tasks=options.tasks,
            rate=options.rate,
            input=options.input,
            beat=settings.heartbeat_seconds,
        )
        try:
            bench.run(options.wait, tell, lambda: service is None or service.runs)
        except Interrupted as interrupted:
            code = interrupted.code
        figures = bench.figures()
        _show(figures, options, say)
        if bench.silent:
            tell(f"no report came: is the service's DATAHUB_BASE_URL {datahub.url}?")
        if service is not None and (service.problem or not service.runs):
            code = code or int(not service.runs)
            tell(f"the service's first problem: {service.problem or 'it has ended'}")
        if options.service is not None and (left := bench.call_off()):
            tell(f"{left} tasks that had not ended were cancelled")
        # Nothing of it is kept: waiting for it to end in good order would be wasted time.
        os.kill(datahub.pid, signal.SIGKILL)
    return code


def _scratch() -> tempfile.TemporaryDirectory[str]:
    # What a killed service leaves behind may still be written to.
    return tempfile.TemporaryDirectory(prefix="datahub-bench-", ignore_cleanup_errors=True)


def _show(figures: Figures, options: Options, say: Callable[[str], None]) -> None:
    from plugin_framework.emulator.bench.plot import picture  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.bench.table import lines  # noqa: PLC0415 - loaded late

    if options.out is not None:
        try:
            options.out.write_text(picture(figures, options.title), encoding="utf-8")
        except OSError as error:
            tell(f"--out {options.out} cannot be written ({error.strerror})")
    for line in [json.dumps(figures.as_json())] if options.as_json else lines(figures):
        say(line)


def _settings(*, own_service: bool) -> Settings:
    """Those of the environment; which Datahub they name counts only for a service of its own."""
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late
    from plugin_framework.testing.settings import local_settings  # noqa: PLC0415 - loaded late

    return load_settings() if own_service else local_settings({})


def _with_input(options: Options, folder: Path) -> Options:
    """Of the built-in plugin, the input and what the config says of it go together."""
    if options.name is not None or options.service is not None:
        return options
    size = options.config.get("input_bytes")
    if options.input is not None:
        facts = {"input_bytes": options.input.stat().st_size}
        return replace(options, config={**facts, **options.config})
    if not isinstance(size, int) or size < 1:
        return options
    source = folder / "input.bin"
    with source.open("wb") as file:
        file.truncate(size)
    return replace(options, input=source)


def _check_writable(out: Path | None) -> None:
    """Before anything is measured, for afterwards it would be lost."""
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late

    if out is None:
        return
    try:
        out.open("ab").close()
    except OSError as error:
        raise ConfigurationError(
            f"--out {out} cannot be written ({error.strerror})", code=Code.FOLDER_UNUSABLE
        ) from None


def _credentials(options: Options, settings: Settings) -> Credentials | None:
    """What a service that runs already signs with; else new ones."""
    from plugin_framework.emulator.api import Credentials  # noqa: PLC0415 - loaded late

    if options.service is None:
        return Credentials("bench", secrets.token_hex(32))
    if settings.api_key is None or settings.api_secret is None:
        return None
    return Credentials(settings.api_key.get_secret_value(), settings.api_secret.get_secret_value())


def _datahub(
    made: ExitStack, options: Options, folder: Path, credentials: Credentials | None
) -> Emulator:
    from plugin_framework.emulator import Emulator  # noqa: PLC0415 - loaded late

    return made.enter_context(
        Emulator(
            state_dir=folder,
            key=credentials.key if credentials else None,
            secret=credentials.secret if credentials else None,
            port=options.port if options.service else 0,
        )
    )


class Service:
    """A service that is started to be measured, and ended at the end of the block.

    Attributes:
        url: where it is served.
        problem: the first error in its log.
    """

    def __init__(self, name: str, datahub: str, credentials: Credentials, folder: Path) -> None:
        from plugin_framework.cli.dev.service import Orders  # noqa: PLC0415 - loaded late

        self._orders = Orders(
            names=(name,),
            port=0,
            base_url=datahub,
            api_key=credentials.key,
            api_secret=credentials.secret,
            state_dir=str(folder),
            parent=os.getpid(),
        )
        self._urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()
        self.url: str = ""
        self.problem: str = ""

    def __enter__(self) -> Self:
        """Wait until it serves.

        Raises:
            ConfigurationError: it ended instead.
        """
        from plugin_framework.cli.dev.service import ServiceProcess  # noqa: PLC0415 - loaded late
        from plugin_framework.errors import ConfigurationError  # noqa: PLC0415 - loaded late

        self._process = ServiceProcess(self._orders, self._take, self._note_end)
        self.url = self._urls.get()
        if not self.url:
            raise ConfigurationError(self.problem or "the service ended before it served")
        return self

    def __exit__(self, *_: object) -> None:
        """End it. Nothing of it is kept: what runs need not end in good order."""
        self._process.kill()
        self._ended.wait()

    @property
    def runs(self) -> bool:
        """Whether it has not ended by itself."""
        return not self._ended.is_set()

    def _note_end(self, _process: object) -> None:
        self._ended.set()
        self._urls.put("")  # an address that is none

    def _take(self, line: str) -> None:
        from plugin_framework.cli.dev.lines import address_of, record_of  # noqa: PLC0415 - late

        record = record_of(line)
        if (address := address_of(record)) is not None:
            self._urls.put(address)
        elif record.levelno >= logging.ERROR and not self.problem:
            self.problem = record.getMessage()
