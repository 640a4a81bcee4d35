"""``emulator``: the local Datahub alone, in the foreground."""

from __future__ import annotations

import math
import shlex
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from plugin_framework.cli.bench import bench_command
from plugin_framework.cli.logs import set_up_logging
from plugin_framework.cli.state import alone
from plugin_framework.cli.streams import own_streams

if TYPE_CHECKING:
    from plugin_framework.emulator.api import Credentials
    from plugin_framework.emulator.settings import ServerSettings

DIALECTS = ("s3", "s3-v2", "oss", "oss-v1", "cos")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def datahub_options(command: _Command) -> _Command:
    """What can be said of the local Datahub, wherever it runs."""
    for option in (
        click.option(
            "--chaos",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Faults to begin with: rules in TOML or JSON.",
        ),
        click.option(
            "--dialect",
            type=click.Choice(DIALECTS),
            default="s3",
            show_default=True,
            help="Whose object storage it is: how URLs are signed, and what is refused.",
        ),
    ):
        command = option(command)
    return command


@click.group(
    "emulator",
    invoke_without_command=True,
    short_help="A local Datahub with a page: API, object storage, faults on demand.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)
@click.option("--allow-wildcard", is_flag=True, help="Let --host be all addresses (0.0.0.0).")
@click.option(
    "--public-url",
    metavar="URL",
    help="Where plugins and browsers find it, if that is not where it listens.",
)
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where its state is kept; else emulator/ in DATAHUB_STATE_DIR.",
)
@click.option(
    "--auth/--no-auth", default=True, show_default=True, help="Whether plugins must sign."
)
@click.option("--key", metavar="KEY", help="The API key, with --secret-file; else one is made.")
@click.option(
    "--secret-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file that holds the API secret.",
)
@click.option(
    "--service",
    "services",
    metavar="URL",
    multiple=True,
    help="A plugin service to register; may be given again.",
)
@click.option(
    "--lost-after",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Silence after which a task is marked as lost.",
)
@datahub_options
@click.option("--storage", metavar="s3://BUCKET", help="A real store (with a prefix, if you like).")
@click.option("--endpoint", metavar="URL", help="Where the real store is.")
@click.pass_context
def emulator_command(context: click.Context, /, **options: Any) -> None:
    """Serve a local Datahub until SIGTERM or SIGINT: API, object storage, and a page to look at.

    Prints the page's address, and then what to set so that plugins find it and sign. Key and
    secret are made once for a state folder. Tasks, files and results survive a restart.

    It is for this machine: whoever reaches the page can do all that it can.
    """
    if context.invoked_subcommand is not None:
        _check_unused(context)
        return
    # Until there is something to end in good order.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    _check(**options)
    _serve(**options)


emulator_command.add_command(bench_command)


def _check_unused(context: click.Context) -> None:
    for option in context.command.params:
        if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} is of no use before another command")


def _check(
    *,
    auth: bool,
    key: str | None,
    secret_file: Path | None,
    storage: str | None,
    endpoint: str | None,
    lost_after: float,
    public_url: str | None,
    **_: object,
) -> None:
    if not math.isfinite(lost_after):
        raise click.UsageError("--lost-after: expected a number of seconds")
    if public_url is not None and not _is_origin(public_url):
        raise click.UsageError("--public-url: expected http:// or https://, a host, and no path")
    if (key is None) != (secret_file is None):
        raise click.UsageError("--key and --secret-file go together")
    if key is not None and not auth:
        raise click.UsageError("--key is of no use with --no-auth")
    if endpoint is not None and storage is None:
        raise click.UsageError("--endpoint is of no use without --storage")


def _is_origin(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    rest = url.path.strip("/") or url.query or url.fragment or url.username
    return url.scheme in {"http", "https"} and bool(url.hostname) and not rest


def _serve(*, state: Path | None, **options: Any) -> None:
    from plugin_framework.emulator.server import serve  # noqa: PLC0415 - loaded late
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late
    from plugin_framework.testing.settings import (  # noqa: PLC0415 - loaded late
        local_settings,
        local_state_dir,
    )

    chaos = chaos_of(options.pop("chaos"))
    logged = local_settings({})
    folder = (state or local_state_dir() / "emulator").absolute()
    with alone(folder, "--state", "another local Datahub"), own_streams() as (say, stderr):
        set_up_logging(logged.log_level, logged.log_format, stderr)
        settings = _settings(folder, chaos=chaos, **options)
        try:
            serve(settings, lambda url: announce(say, url, settings.credentials))
        except OSError as error:
            raise ConfigurationError(
                f"--state {folder}: it cannot be used ({error})", code=Code.FOLDER_UNUSABLE
            ) from None


def _settings(
    folder: Path, *, auth: bool, key: str | None, secret_file: Path | None, **options: Any
) -> ServerSettings:
    from plugin_framework.emulator.api import Credentials  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.settings import ServerSettings  # noqa: PLC0415 - loaded late

    kept = kept_credentials(folder)  # which finds out, too, whether the folder is of any use
    credentials = kept if auth else None
    if key is not None and secret_file is not None:
        credentials = Credentials(key, _secret_of(secret_file))
    return ServerSettings(state_dir=folder, credentials=credentials, **options)


def kept_credentials(folder: Path) -> Credentials:
    """What plugins of this state folder sign with: the same at every start.

    Raises:
        ConfigurationError: the folder cannot be used.
    """
    from plugin_framework.emulator.api import Credentials  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.store import Store  # noqa: PLC0415 - loaded late
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late

    try:
        with closing(Store(folder)) as store:
            return Credentials(*store.api_credentials)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"--state {folder}: it cannot be used ({error})", code=Code.FOLDER_UNUSABLE
        ) from None


def _secret_of(file: Path) -> str:
    from plugin_framework.errors import ConfigurationError  # noqa: PLC0415 - loaded late

    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"--secret-file {file}: {reason}") from None
    if not secret:
        raise ConfigurationError(f"--secret-file {file}: it is empty")
    return secret


def chaos_of(file: Path | None) -> dict[str, Any] | None:
    """The faults that a file tells of.

    Raises:
        ConfigurationError: with a line for each mistake in it.
    """
    from plugin_framework.emulator.chaos import Chaos  # noqa: PLC0415 - loaded late

    return None if file is None else Chaos.from_file(file).as_json()


def announce(say: Callable[[str], None], url: str, credentials: Credentials | None) -> None:
    """Tell where the page is, and then what to copy and paste."""
    say(f"page: {url}/")
    variables = {"DATAHUB_BASE_URL": url}
    if credentials is not None:
        variables |= {"DATAHUB_API_KEY": credentials.key, "DATAHUB_API_SECRET": credentials.secret}
    given = (f"{name}={shlex.quote(value)}" for name, value in variables.items())
    say(f"export {' '.join(given)}")
