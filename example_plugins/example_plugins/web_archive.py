"""Archives a list of web pages as a WARC file, politely, and goes on where it was killed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from example_plugins.polite_client import ClientConfig, PageError, PoliteClient, parsed
from example_plugins.warc_file import INDEX, WARC, Entry, Exchange, WarcFile
from plugin_framework import DatahubPlugin, Field, PluginError, TaskContext, TaskResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MOST_PAGES = 100_000
LONGEST_ADDRESS = 8_000
"""Characters."""
MOST_REDIRECTS = 5
SUCCESS = range(200, 300)


class WebArchive(DatahubPlugin):
    """Archives a list of web pages as a WARC file."""

    class Config(ClientConfig):
        """Which pages, and how to ask for them."""

        pages: list[str] = Field(
            [],
            max_length=1_000,
            title="Pages",
            description="Their addresses; without any, the input has one in each line.",
        )

    async def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Write ``pages.warc.gz``, and ``pages.jsonl`` with what became of each page."""
        pages = list(ctx.config.pages) or await asyncio.to_thread(read_list, ctx)
        once: dict[str, str] = {}
        for page in pages:
            once.setdefault(address_of(page), page)
        with WarcFile(ctx) as archive:
            await ArchiveRun(ctx, archive, len(once)).run(once.values())
            entries = list(archive.entries.values())
        for name in (WARC, INDEX):
            await asyncio.to_thread(ctx.upload, ctx.work_dir / name)
        successes = sum(entry.status in SUCCESS for entry in entries)
        return TaskResult(
            total_counts=len(entries),
            success_counts=successes,
            failed_counts=len(entries) - successes,
        )


class ArchiveRun:
    """One attempt: the pages that are missing, those of one host one after the other."""

    def __init__(self, ctx: TaskContext[Any], archive: WarcFile, total: int) -> None:
        self._ctx = ctx
        self._archive = archive
        self._total = total
        self._writing = asyncio.Lock()
        self._waiting = asyncio.Lock()

    async def run(self, pages: Iterable[str]) -> None:
        """Archive all pages that are not yet there."""
        by_host: dict[str, list[str]] = defaultdict(list)
        for page in pages:
            if page not in self._archive.entries:
                by_host[host_of(page)].append(page)
        async with (
            PoliteClient(self._ctx.config, self._checkpoint) as client,
            asyncio.TaskGroup() as hosts,
        ):
            for missing in by_host.values():
                hosts.create_task(self._archive_in_turn(client, missing))

    async def _checkpoint(self) -> None:
        """A checkpoint that leaves the loop to what is under way; one thread waits, not many."""
        async with self._waiting:
            await asyncio.to_thread(self._ctx.checkpoint)

    async def _archive_in_turn(self, client: PoliteClient, pages: list[str]) -> None:
        for page in pages:
            exchanges: list[Exchange] = []
            try:
                entry = await self._fetch(client, page, exchanges)
                async with self._writing:
                    await asyncio.to_thread(self._archive.add, entry, exchanges)
            finally:
                for exchange in exchanges:
                    exchange.body.close()
            self._ctx.progress(len(self._archive.entries) * 100 / self._total)

    async def _fetch(self, client: PoliteClient, page: str, exchanges: list[Exchange]) -> Entry:
        """Fetch a page, by way of its redirects; ``exchanges`` gets all that was said."""
        address = page
        try:
            for _ in range(MOST_REDIRECTS + 1):
                response, exchange = await client.get(address)
                exchanges.append(exchange)
                if response.next_request is None:
                    return Entry(page, address, response.status_code)
                address = str(response.next_request.url)
        except PageError as error:
            return Entry(page, address, reason=str(error))
        return Entry(page, address, reason=f"it has more than {MOST_REDIRECTS} redirects")


def read_list(ctx: TaskContext[Any]) -> list[str]:
    """The addresses in the input: one in each line, less empty lines and ``#`` comments.

    Raises:
        PluginError: the input is no such list.
    """
    pages = []
    for page in _lines(ctx.download()):
        pages.append(page)
        if len(pages) > MOST_PAGES:
            raise PluginError(f"the list has more than {MOST_PAGES:,} pages")
    return pages


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as text:
        try:
            for number, line in enumerate(iter(lambda: text.readline(LONGEST_ADDRESS), ""), 1):
                if len(line) == LONGEST_ADDRESS:
                    raise PluginError(f"line {number} is too long to be an address")
                if (page := line.strip()) and not page.startswith("#"):
                    yield page
        except UnicodeDecodeError:
            raise PluginError("the input is no list of addresses in UTF-8") from None


def address_of(page: str) -> str:
    """What is asked for: the same for pages that differ in their fragments alone."""
    try:
        return str(parsed(page))
    except PageError:
        return page


def host_of(page: str) -> str:
    """Where a page is to be asked for; pages without a host are together, and fail one by one."""
    try:
        return parsed(page).netloc.decode()
    except PageError:
        return ""
