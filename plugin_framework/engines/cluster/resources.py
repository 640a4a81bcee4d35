"""What a subtask needs, what a node offers, and how many of the ones fit into the other."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import ByteSize, TypeAdapter, ValidationError

from plugin_framework.engines.cluster.records import Offer
from plugin_framework.errors import Code, ConfigurationError

GIB = 1024**3

_LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")
_KINDS = ("cpus", "gpus", "memory")
_MOST = 10**6
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE: TypeAdapter[int] = TypeAdapter(ByteSize)


@dataclass(frozen=True, slots=True)
class Needs:
    """What one subtask of a plugin needs, memory in bytes; 0: the plugin does not say."""

    cpus: float = 0
    gpus: int = 0
    memory: int = 0

    @classmethod
    def of(cls, resources: Mapping[str, Any], plugin: str = "") -> Self:
        """What a plugin's ``resources`` say.

        Raises:
            ConfigurationError: with a line for each that is no such thing.
        """
        problems = [
            f"plugin {plugin}: resources {key!r}: {problem}"
            for key, value in resources.items()
            if (problem := _problem(key, value))
        ]
        if problems:
            raise ConfigurationError(problems, code=Code.PLUGIN_UNUSABLE)
        memory = size_of(resources.get("memory", 0))
        return cls(resources.get("cpus", 0), resources.get("gpus", 0), memory)

    @property
    def class_name(self) -> str:
        """The resource class: ``c1``, ``c4-g1-m32g`` and the like; memory in whole GiB."""
        parts = [f"c{self.cpus or 1:g}"]
        if self.gpus:
            parts.append(f"g{self.gpus}")
        if self.memory:
            parts.append(f"m{math.ceil(self.memory / GIB)}g")
        return "-".join(parts)

    def fit(self, offer: Offer) -> bool:
        """Whether one subtask fits into it."""
        return self._times_in(offer) >= 1

    def slots_in(self, offer: Offer, most: int) -> int:
        """How many subtasks fit into it side by side, ``most`` at the most."""
        return int(min(self._times_in(offer), most))

    def _times_in(self, offer: Offer) -> float:
        needs = ((offer.cpus, self.cpus), (offer.gpus, self.gpus), (offer.memory, self.memory))
        return min((there // needed for there, needed in needs if needed), default=math.inf)

    def __str__(self) -> str:
        return _written(self.cpus, self.gpus, self.memory) or "nothing in particular"


def queue_name(plugin: str, needs: Needs) -> str:
    """The queue of a plugin's subtasks."""
    return f"datahub.{quote(plugin, safe='')}.{needs.class_name}"


def common_slots(needs: Iterable[Needs], offer: Offer, most: int) -> int:
    """How many subtasks can run side by side, whichever of these they are; 0 without any."""
    return min((each.slots_in(offer, most) for each in needs), default=0)


def machine_offer(
    cpus: int | None = None, gpus: int | None = None, memory: int | None = None
) -> Offer:
    """What is given; else all cores and the memory of this machine or container, and no GPU."""
    return Offer(
        len(os.sched_getaffinity(0)) if cpus is None else cpus,
        gpus or 0,
        _memory_here() if memory is None else memory,
    )


def described(offer: Offer) -> str:
    """The offer, for people."""
    return _written(offer.cpus, offer.gpus, offer.memory) or "nothing"


def size_of(given: object) -> int:
    """Bytes of a size such as ``32GiB``; ValueError where it is none."""
    try:
        size = _SIZE.validate_python(given)
    except (ValidationError, OverflowError):
        raise ValueError("no size") from None
    return int(size)


def _written(cpus: float, gpus: int, memory: int) -> str:
    parts = [f"{cpus:g} CPU{'' if cpus == 1 else 's'}" if cpus else ""]
    parts.append(f"{gpus} GPU{'' if gpus == 1 else 's'}" if gpus else "")
    parts.append(f"{_size_in_words(memory)} of memory" if memory else "")
    return ", ".join(filter(None, parts))


def _size_in_words(size: int) -> str:
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size / 1024**power:.4g} {_UNITS[power]}"


def _problem(key: str, value: object) -> str | None:
    if key not in _KINDS:
        near = difflib.get_close_matches(key, _KINDS, n=1)
        return f"did you mean {near[0]!r}?" if near else "there are cpus, gpus and memory"
    if key == "memory":
        try:
            return None if size_of(value) >= 0 else "expected a size such as 2GiB"
        except ValueError:
            return "expected a size such as 2GiB"
    kinds = (int,) if key == "gpus" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= _MOST:
        return f"expected a {'whole ' if key == 'gpus' else ''}number of 0 or more"
    return None


def _memory_here() -> int:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int(_LIMIT_OF_CONTAINER.read_text(encoding="ascii"))
    except (OSError, ValueError):  # none, or "max"
        return whole
    return min(limit, whole)
