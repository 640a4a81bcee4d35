"""What a soak finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from benchmarks.soaking.samples import Sample, Trend


@dataclass
class Findings:
    """What was counted, all samples, and each broken promise in a line."""

    ended: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    outputs: int = 0
    cores: float = 0
    samples: list[Sample] = field(default_factory=list)
    trends: list[Trend] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def complain(self, line: str) -> None:
        """Note a broken promise, and say so at once."""
        self.wrong.append(line)
        print(f"BROKEN: {line}", flush=True)

    def table(self) -> Iterator[str]:
        """All but the samples, for people."""
        for title in ("done", "ended", "faults", "logged"):
            counted = getattr(self, title).most_common()
            yield f"{title}: " + ", ".join(f"{count} {what}" for what, count in counted if count)
        yield f"{self.outputs} outputs compared; {self.cores:.2f} cores used"
        if self.trends:
            yield f"{'':6}{'second quarter':>16}{'last':>10}{'allowed':>10}{'over':>9}"
        for one in self.trends:
            yield (
                f"{'flat' if one.flat else 'GROWS':6}{one.before:16.1f}{one.after:10.1f}"
                f"{one.before + one.allowed:10.1f}{one.seconds:7.0f} s  {one.title}"
            )
        yield from self.wrong
        yield f"{len(self.wrong)} promises broken" if self.wrong else "every promise was kept"

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        return kept | {name: [asdict(one) for one in kept[name]] for name in ("samples", "trends")}
