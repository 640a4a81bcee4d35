"""``worker``: a machine of a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from plugin_framework.cli.serve import chosen_plugins, end_at_signals, log_subtasks
from plugin_framework.cli.streams import own_streams

if TYPE_CHECKING:
    from plugin_framework.settings import Settings


def _size(_context: click.Context, _parameter: click.Parameter, given: str | None) -> int | None:
    from plugin_framework.engines.cluster.resources import size_of  # noqa: PLC0415 - loaded late

    if given is None:
        return None
    try:
        return size_of(given)
    except ValueError:
        raise click.BadParameter("expected a size such as 32GiB") from None


_COUNT = click.IntRange(min=1)


@click.command("worker", short_help="Take subtasks from a cluster's queue, and run them.")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--cpus", type=_COUNT, help="CPUs that subtasks may need; all cores, if not given.")
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="GPUs that subtasks may need.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    callback=_size,
    help="Memory that subtasks may need, such as 32GiB; all of the machine, if not given.",
)
@click.option(
    "--concurrency",
    type=_COUNT,
    help="Subtasks to run side by side at the most (DATAHUB_MAX_CONCURRENCY).",
)
def worker_command(
    names: tuple[str, ...],
    cpus: int | None,
    gpus: int,
    memory: int | None,
    concurrency: int | None,
) -> None:
    """Run subtasks of the plugins NAME... as the engine's queue hands them out.

    NAME is an installed plugin, or a reference such as package.module:Class (DATAHUB_PLUGIN). The
    queue is that of DATAHUB_ENGINE and DATAHUB_BROKER_URL; what the machines of a cluster share is
    in DATAHUB_STORE_URL. As many subtasks run side by side as fit into what the machine offers by
    what each of them needs (the plugins' resources).

    SIGTERM and SIGINT end the worker: it takes no more subtasks, lets those that run go on for
    DATAHUB_DRAIN_SECONDS, and hands back what has not ended then. A second signal hands it back at
    once.

    \b
    Exit codes:
      0   ended as told by a signal
      2   usage, or settings, plugins, broker or store that cannot be used
      69  broker or store not reached within DATAHUB_STARTUP_DEADLINE
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late

    end_at_signals()
    settings = load_settings()
    if concurrency is not None:
        settings = settings.model_copy(update={"max_concurrency": concurrency})
    plugins = chosen_plugins(names, settings)
    _demand_engine(settings)
    _work(plugins, settings, cpus, gpus, memory)


def _demand_engine(settings: Settings) -> None:
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late

    if settings.engine == "local":
        raise ConfigurationError(
            "DATAHUB_ENGINE is local, which has no queue to take subtasks from: a worker needs"
            " DATAHUB_ENGINE=celery",
            code=Code.SETTING_WRONG,
        )


def _work(
    plugins: tuple[str, ...],
    settings: Settings,
    cpus: int | None,
    gpus: int,
    memory: int | None,
) -> None:
    # Loaded late: only a worker has Celery.
    from plugin_framework.engines.celery.worker import work  # noqa: PLC0415 - see above
    from plugin_framework.engines.cluster.node import node_name  # noqa: PLC0415 - see above
    from plugin_framework.engines.cluster.resources import machine_offer  # noqa: PLC0415 - see above
    from plugin_framework.telemetry.exposing import exposed  # noqa: PLC0415 - see above

    name = node_name(settings.node)
    with own_streams() as (_, stderr):
        _, facts = log_subtasks(settings, stderr, name)
        offer = machine_offer(cpus, gpus, memory)
        with exposed(settings.metrics) as figures:
            observers = {**facts, **figures}
            code = work(plugins, settings, offer, name=name, observers=observers)
    sys.exit(code)
