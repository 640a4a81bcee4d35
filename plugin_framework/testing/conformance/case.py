"""One plugin on trial: its samples, and the runs that several rules look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from plugin_framework.errors import InvalidConfigError
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.loader import PluginRef
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.testing.conformance import samples as kinds
from plugin_framework.testing.conformance.live import Live
from plugin_framework.testing.conformance.rule import NotApplicable
from plugin_framework.testing.conformance.samples import SIZES, Grow, MiB
from plugin_framework.testing.conformance.stage import GRACE_SECONDS, TRIAL_SECONDS, Stage
from plugin_framework.testing.conformance.trial import Trial


class Case:
    """What the rules look at. Runs are made when a rule first asks for them.

    Attributes:
        plugin: its class.
        ref: what is known of it without running it.
        samples: the author's, or our own.
        given: whether the samples are the author's.
        config: of all runs.
        sizes: bytes of the two inputs by which memory is judged.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        samples: Sequence[Path | str | bytes],
        config: Mapping[str, Any],
        sizes: tuple[int, int],
        grow: Grow | None,
    ) -> None:
        self.stage = stage
        self._before = len(stage.trials)
        self.ref: PluginRef = stage.engine.ref
        self.plugin: type[DatahubPlugin] = stage.plugin
        self.config: dict[str, Any] = dict(config)
        self.sizes = sizes
        self._grow = grow or kinds.grown
        self._grown: dict[int, Trial] = {}
        self.folder: Path = Path(tempfile.mkdtemp(prefix="samples-", dir=stage.folder))
        self.given: bool = bool(samples)
        own = kinds.own_samples
        self.samples: list[Path] = (
            kinds.prepare(samples, self.folder) if samples else own(self.folder)
        )

    @cached_property
    def trials(self) -> dict[Path, Trial]:
        """A run on each sample; of our own, up to the first that the plugin takes."""
        found: dict[Path, Trial] = {}
        for sample in self.samples:
            found[sample] = self.stage.run(sample, self.config)
            if found[sample].completed and not self.given:
                break
        return found

    @property
    def made(self) -> list[Trial]:
        """All runs that have been made so far."""
        return self.stage.trials[self._before :]

    @property
    def sample(self) -> Path:
        """The first sample that the plugin takes.

        Raises:
            NotApplicable: it takes none.
        """
        for sample, trial in self.trials.items():
            if trial.completed:
                return sample
        raise NotApplicable("there is no sample that the plugin takes: see result-is-json")

    @property
    def plain(self) -> Trial:
        """The run on that sample, from which nothing was asked.

        Raises:
            NotApplicable: there is no sample that the plugin takes.
        """
        return self.trials[self.sample]

    @cached_property
    def empty(self) -> Trial:
        """A run on an input of no bytes."""
        first = next((one for one, trial in self.trials.items() if trial.completed), None)
        source = kinds.empty_like(first or self.samples[0], self.folder)
        return self.stage.run(source, self.config)

    @cached_property
    def cancelled(self) -> Trial:
        """A run that is cancelled in its middle; ``seen["held"]`` tells whether it got there."""

        def cancel(live: Live) -> None:
            live.seen["held"] = live.is_held()
            if live.seen["held"]:
                live.ask(TaskStatus.CANCELLED)

        return self.stage.run(self.sample, self.config, hold_at=self.middle, meanwhile=cancel)

    @property
    def middle(self) -> int:
        """The number of the checkpoint in the middle of ``process``; 0 where it has none."""
        return (self.plain.checkpoints + 1) // 2

    def grown(self, size: int) -> Trial:
        """A run on an input of about ``size`` bytes, made of the sample.

        Raises:
            NotApplicable: no such input can be made.
        """
        if size not in self._grown:
            self._refuse_after_slow()
            source = self._grow(self.sample, size, self.folder)
            if source is None:
                raise NotApplicable(
                    f"no larger input can be made of {self.sample.name}, which is not text of"
                    " lines: write grow(self, sample, size, folder) in a PluginConformance class"
                )
            self._grown[size] = self.stage.run(source, self.config, measure=True)
            source.unlink(missing_ok=True)
        return self._grown[size]

    def _refuse_after_slow(self) -> None:
        """A larger input takes longer still."""
        for size, trial in self._grown.items():
            if trial.overdue:
                raise NotApplicable(
                    f"an input of {size / MiB:.0f} MiB takes more than {self.stage.limit:.0f} s;"
                    " choose smaller sizes in a PluginConformance class"
                )

    def takes(self, config: Mapping[str, Any]) -> bool:
        """Whether this config validates."""
        try:
            self.stage.engine.check(config)
        except InvalidConfigError:
            return False
        return True


@contextmanager
def open_case(
    plugin: type[DatahubPlugin] | str,
    *,
    samples: Sequence[Path | str | bytes] = (),
    config: Mapping[str, Any] | None = None,
    sizes: tuple[int, int] = SIZES,
    grow: Grow | None = None,
    grace: float = GRACE_SECONDS,
    limit: float = TRIAL_SECONDS,
) -> Iterator[Case]:
    """A plugin on trial; see ``check_plugin``.

    Raises:
        ConfigurationError: the plugin, a sample or the config cannot be used.
    """
    with Stage(plugin, grace=grace, limit=limit) as stage:
        stage.engine.check(config or {})
        yield Case(stage, samples=samples, config=config or {}, sizes=sizes, grow=grow)
