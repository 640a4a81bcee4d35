"""What was measured, as a table in text and Markdown, and as a picture."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.transfer.bulk import Cell, Results, Series, ratios
from benchmarks.transfer.clients import CLIENTS, LIMIT, OURS
from benchmarks.transfer.job import MIB

if TYPE_CHECKING:
    from benchmarks.transfer.suite import Findings

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "explanation" / "benchmarks.md"
PICTURE = PROJECT / "docs" / "images" / "transfers.png"
UNPUBLISHED = PROJECT / ".bench"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

Row = Sequence[str]


def write(found: Findings, folder: Path = UNPUBLISHED) -> None:
    """Print the tables, and keep them and the picture in ``folder``, or publish them.

    They go into the docs where BENCH_PUBLISH is set.
    """
    tables = [_ways(found), _means(found), _scenarios(found)]
    for table in tables:
        print("\n" + _text(table))
    notes = _notes(found)
    text = "\n".join([_conditions(found), *(_markdown(table) for table in tables), *notes])
    print("\n" + text)
    page, picture = folder / PAGE.name, folder / PICTURE.name
    if os.environ.get("BENCH_PUBLISH"):
        page, picture = PAGE, PICTURE
        before, _, rest = PAGE.read_text().partition(BEGIN)
        text = f"{before}{BEGIN}{text}\n{END}{rest.partition(END)[2]}"
    page.parent.mkdir(exist_ok=True)
    page.write_text(text)
    draw(found.bulk, picture)


def _conditions(found: Findings) -> str:
    sizes = found.sizes
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    today = dt.datetime.now(tz=dt.UTC).date()
    return (
        f"Measured on {today}: {os.cpu_count()} cores of {model}, Linux {platform.release()},"
        f" Python {platform.python_version()}. {sizes.size // MIB} MiB in parts of 16 MiB over"
        f" loopback; medians of {sizes.rounds} interleaved rounds.\n"
    )


def _groups(results: Results) -> list[list[Cell]]:
    """The cells, those of one scheme and direction together."""
    groups: dict[tuple[bool, bool], list[Cell]] = {}
    for cell in dict.fromkeys(cell for cell, _ in results):
        groups.setdefault((cell.secure, cell.up), []).append(cell)
    return list(groups.values())


def _names(results: Results) -> list[str]:
    """The clients, in the order they ran in."""
    return list(dict.fromkeys(name for _, name in results))


def _of(results: Results, cell: Cell) -> dict[str, Series]:
    return {name: series for (its, name), series in results.items() if its == cell}


def _ratio(results: Results, cell: Cell, name: str, against: str = LIMIT) -> str:
    each = ratios(_of(results, cell), name, against)
    return f"{statistics.median(each):.2f}" if each else "-"


def _number(value: float | None, places: int = 2) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _ways(found: Findings) -> list[Row]:
    """Rates as a part of the limit's, for each way and concurrency."""
    groups = _groups(found.bulk)
    head = ["rate / limit's"]
    for group in groups:
        at = " / ".join(str(cell.concurrency) for cell in group)
        head.append(f"{group[0].title.partition(',')[0]}, at {at}")
    rows = [head]
    rows += [
        [name, *(" / ".join(_ratio(found.bulk, c, name) for c in g) for g in groups)]
        for name in _names(found.bulk)
    ]
    limit = [
        " / ".join(
            _number(found.sizes.size / 1024 / MIB / median if median else None)
            for median in (found.bulk[cell, LIMIT].median(lambda run: run.seconds) for cell in g)
        )
        for g in groups
    ]
    return [*rows, ["limit in GiB/s", *limit]]


def _means(found: Findings) -> list[Row]:
    """CPU seconds per GiB at the middle concurrency, and the most memory anywhere."""
    cells = [group[len(group) // 2] for group in _groups(found.bulk)]
    gib = found.sizes.size / 1024 / MIB
    rows: list[Row] = [
        ["CPU seconds per GiB", *(cell.title for cell in cells), "peak MiB above idle, anywhere"]
    ]
    for name in _names(found.bulk):
        row = [name]
        for cell in cells:
            median = found.bulk[cell, name].median(lambda run: run.cpu_seconds)
            row.append(_number(None if median is None else median / gib))
        every = [series for (_, its), series in found.bulk.items() if its == name]
        rows.append([*row, _peak(every)])
    return rows


def _peak(many: Iterable[Series]) -> str:
    peaks = [run.peak_mib - run.idle_mib for series in many for run in series.runs]
    return _number(max(peaks), 0) if peaks else "-"


def _scenarios(found: Findings) -> list[Row]:
    """What is compared otherwise than with the limit."""
    rows: list[Row] = [["scenario", "measured"]]
    for group in _groups(found.delayed):
        title = group[0].title.partition(",")[0]
        at = " / ".join(str(cell.concurrency) for cell in group)
        value = " / ".join(_ratio(found.delayed, cell, OURS, "curl") for cell in group)
        rows.append([f"50 ms round trip, {title}, at {at}: rate / curl --parallel's", value])
    for up, (faultless, failing) in found.failing.items():
        pairs = zip(faultless.runs, failing.runs, strict=False)
        each = [before.seconds / after.seconds for before, after in pairs]
        title = f"0.1% failing parts, https {'up' if up else 'down'}: rate / the faultless"
        rows.append([title, _number(statistics.median(each)) if each else "-"])
    for name, series in found.small.items():
        title = f"{found.sizes.small_files} files of 10 KB, 10 ms round trip, {name}: seconds"
        rows.append([title, _number(series.median(lambda run: run.seconds))])
    for size, series in found.memory.items():
        title = f"{size // 1024 // MIB} GiB up, https, at 8: MiB above idle"
        rows.append([title, _peak([series])])
    return rows


def _notes(found: Findings) -> list[str]:
    """What is to be known of each client, and why figures are missing."""
    notes = [f"- {client.name}: {client.tells}." for client in CLIENTS if client.tells]
    failures = {
        (name, series.failure)
        for results in (found.bulk, found.delayed)
        for (_, name), series in results.items()
        if series.failure and series.failure != "cannot"
    }
    notes += [f"- {name} could not be measured: {reason}." for name, reason in sorted(failures)]
    return [*notes, ""]


def _markdown(table: Sequence[Row]) -> str:
    head, *rows = table
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, ""])


def _text(table: Sequence[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def draw(results: Results, path: Path) -> None:
    """A panel for each way: a bar for each client, a shade for each concurrency."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and at the end only

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    groups = _groups(results)
    names = [name for name in _names(results) if name != LIMIT][::-1]
    figure, axes = plt.subplots(1, len(groups), figsize=(3.2 * len(groups), 4.2), sharey=True)
    for axis, group in zip(axes, groups, strict=True):
        thickness = 0.8 / len(group)
        for index, cell in enumerate(group):
            found = _of(results, cell)
            values = [
                statistics.median(each) if (each := ratios(found, name)) else 0 for name in names
            ]
            at = [place + 0.4 - thickness * (index + 0.5) for place in range(len(names))]
            shade = plt.get_cmap("Blues")(0.4 + 0.5 * (index + 1) / len(group))
            axis.barh(at, values, thickness, color=shade, label=f"{cell.concurrency} at once")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(group[0].title.partition(",")[0])
        axis.set_yticks(range(len(names)), names)
    axes[0].legend(fontsize=7)
    figure.supxlabel("rate, as a part of what a client in C reaches")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
