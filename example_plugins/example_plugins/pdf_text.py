"""Takes the text out of a PDF, page by page, with the command-line tool ``pdftotext``."""

from __future__ import annotations

import re
import shutil
from subprocess import PIPE
from typing import TYPE_CHECKING, Literal

from plugin_framework import (
    DatahubPlugin,
    Field,
    PluginConfig,
    PluginError,
    TaskContext,
    TaskResult,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

TOOLS = ("pdfinfo", "pdftotext", "prlimit")
MiB = 1024 * 1024
PAGE_BYTES = 64 * MiB
"""The most text that a page may have."""


class PdfText(DatahubPlugin):
    """Takes the text out of a PDF, page by page."""

    class Config(PluginConfig):
        """How the text is laid out, and what a page may cost."""

        layout: Literal["reading", "page"] = Field(
            "reading",
            title="Layout",
            description="In the order in which it is read, or laid out as on the page.",
        )
        page_seconds: int = Field(
            60,
            ge=1,
            le=3_600,
            title="Seconds for a page",
            description="Of processor time; a page that takes more fails.",
        )
        memory_mb: int = Field(
            2_048,
            ge=256,
            title="Memory",
            description="In MiB, for the tool; a page that takes more fails.",
        )
        max_pages: int = Field(
            10_000, ge=1, title="Most pages", description="A PDF with more of them is refused."
        )

    def on_start(self, ctx: TaskContext[Config]) -> None:  # noqa: ARG002 - as it is called
        """Say at once what is missing, before anything is fetched."""
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise PluginError(
                f"{' and '.join(missing)} cannot be found: install poppler-utils and util-linux"
            )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Write one text file, its pages divided by form feeds."""
        source = ctx.download()
        pages = [
            ctx.work_dir / f"page-{number}" for number in range(1, count_pages(source, ctx) + 1)
        ]
        failed = extract_all(source, pages, ctx)
        if len(failed) == len(pages):
            raise PluginError("no page can be read; the log says why for each")
        empty = join(pages, ctx.output_dir / f"{source.stem}.txt")
        return TaskResult(
            total_counts=len(pages),
            success_counts=len(pages) - len(failed),
            failed_counts=len(failed),
            failed_pages=failed,
            pages_without_text=empty,
        )


def count_pages(source: Path, ctx: TaskContext[PdfText.Config]) -> int:
    """How many pages the PDF has.

    Raises:
        PluginError: the input is no PDF, or a broken or an encrypted one, or has too many pages.
    """
    done = run_limited(["pdfinfo", source], ctx, check=False)
    said = done.stderr.decode(errors="replace")
    if "Incorrect password" in said:
        raise PluginError("the PDF is encrypted: remove its password first")
    found = re.search(rb"^Pages:\s+(\d+)$", done.stdout, re.MULTILINE)
    pages = int(found[1]) if found else 0
    if done.returncode or not pages:
        last = said.strip().splitlines()[-1:] or ["pdfinfo finds no pages"]
        raise PluginError(f"the input is no PDF that can be read: {last[0]:.300}")
    if pages > ctx.config.max_pages:
        raise PluginError(f"the PDF has {pages:,} pages; `max_pages` is {ctx.config.max_pages:,}")
    return pages


def extract_all(source: Path, pages: list[Path], ctx: TaskContext[PdfText.Config]) -> list[int]:
    """Write the text of each page into a file; returns the numbers of pages that failed.

    Pages that an earlier attempt has written are left as they are.
    """
    failed = []
    for number, page in enumerate(ctx.track(pages), 1):
        if page.exists():
            continue
        try:
            extract(source, number, page, ctx)
        except PluginError as error:
            ctx.log.warning("page %d cannot be read: %s", number, error)
            failed.append(number)
    return failed


def extract(source: Path, number: int, page: Path, ctx: TaskContext[PdfText.Config]) -> None:
    """Write the text of one page into a file, whole or not at all."""
    layout = ["-layout"] if ctx.config.layout == "page" else []
    only = ["-f", str(number), "-l", str(number)]
    half = ctx.work_dir / "half-a-page"
    run_limited(["pdftotext", "-enc", "UTF-8", "-nopgbrk", *layout, *only, source, half], ctx)
    half.replace(page)


def run_limited(
    command: Sequence[str | Path], ctx: TaskContext[PdfText.Config], *, check: bool = True
) -> CompletedProcess[bytes]:
    """Run a tool on a file that may be hostile: with bounds on its time, memory and output."""
    limits = [
        f"--cpu={ctx.config.page_seconds}",
        f"--as={ctx.config.memory_mb * MiB}",
        f"--fsize={PAGE_BYTES}",
        "--core=0",
    ]
    return ctx.run(["prlimit", *limits, *command], check=check, stdout=PIPE, stderr=PIPE)


def join(pages: list[Path], target: Path) -> int:
    """Write all pages into one file; returns how many have no text, as scanned ones do."""
    empty = 0
    with target.open("wb") as whole:
        for place, page in enumerate(pages):
            text = page.read_bytes() if page.exists() else b""
            empty += page.exists() and not text.strip()
            whole.write(b"\f" * bool(place) + text)
    return empty
