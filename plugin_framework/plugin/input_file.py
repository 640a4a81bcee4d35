"""The input as a file: blocks of it are fetched as they are read, kept for a while, read ahead."""

from __future__ import annotations

import errno
import io
import mmap
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

from plugin_framework.errors import TransferError

BLOCK = 1024 * 1024
"""Bytes of a block: what is fetched for the smallest read."""

SPAN = 8
"""Blocks that are asked for in one go, at the most; so many bytes cross the pipe as one message."""

KEPT = 32
"""Blocks that are kept; two spans more may be on their way."""

BUFFER = 64 * 1024
"""Bytes that ``io.BufferedReader`` takes at once, for lines and other small reads."""

Block: TypeAlias = mmap.mmap


def open_blocks(blocks: InputBlocks, checkpoint: Callable[[], None]) -> io.BufferedReader:
    """A file on the input; ``checkpoint`` is called before each read that leaves its buffer."""
    return io.BufferedReader(_InputFile(blocks, checkpoint), BUFFER)


class InputBlocks:
    """The blocks of the input, for all files that are open on it. Safe to use from several threads.

    ``fetch(offset, size)`` returns that much of the input. What it raises comes out of the read
    that needs the block. At most 64 MiB are held, those on their way included; nothing is kept
    while no file is open.
    """

    def __init__(self, fetch: Callable[[int, int], bytes | memoryview], size: int) -> None:
        self.size = size
        self.count: int = -(-size // BLOCK)
        self._fetch = fetch
        self._files = 0
        self._lock = threading.Lock()
        self._here: OrderedDict[int, Block] = OrderedDict()
        self._unread: set[int] = set()  # those of them that were fetched ahead
        self._coming: dict[int, Future[Block]] = {}

    @property
    def share(self) -> int:
        """Blocks of a span that each open file may ask for, so that what is read ahead is kept."""
        return SPAN // max(1, self._files)

    def opened(self) -> None:
        """One file more."""
        with self._lock:
            self._files += 1

    def closed(self) -> None:
        """One file fewer."""
        with self._lock:
            self._files -= 1
            if self._files == 0:
                self._here.clear()
                self._unread.clear()

    def get(self, index: int) -> Block:
        """A block, fetched where it is neither here nor coming."""
        with self._lock:
            if index in self._here:
                self._here.move_to_end(index)
                self._unread.discard(index)
                return self._here[index]
            claimed = [] if index in self._coming else self._claim(index, index + 1)
            coming = self._coming[index]
        if claimed:
            self._load(index, claimed)
        block = coming.result()
        self.let_go(index, index + 1)
        return block

    def ask_for(self, start: int, end: int) -> None:
        """Begin to fetch what is missing of the blocks from ``start`` up to ``end``."""
        while start < end:
            with self._lock:
                claimed = self._claim(start, end)
            if claimed:
                self._load_aside(start, claimed)
            start += len(claimed) or 1

    def let_go(self, start: int, end: int) -> None:
        """The blocks from ``start`` up to ``end`` have been read, or are not going to be."""
        with self._lock:
            self._unread.difference_update(range(start, end))

    def _claim(self, start: int, end: int) -> list[Future[Block]]:
        """Promise the blocks from ``start`` on, up to the first that is here or coming."""
        claimed: list[Future[Block]] = []
        for index in range(start, min(end, start + SPAN)):
            if index in self._here or index in self._coming:
                break
            self._coming[index] = Future()
            claimed.append(self._coming[index])
        return claimed

    def _load_aside(self, first: int, claimed: list[Future[Block]]) -> None:
        load = partial(self._load, first, claimed)
        try:
            threading.Thread(target=load, daemon=True, name="read-ahead").start()
        except RuntimeError:  # no more threads, and others may wait for what was promised
            load()

    def _load(self, first: int, claimed: list[Future[Block]]) -> None:
        try:
            blocks = self._fetched(first, len(claimed))
        except BaseException as error:  # noqa: BLE001 - raised where the block is needed
            with self._lock:
                self._forget(first, len(claimed))
            for future in claimed:
                future.set_exception(error)
            return
        with self._lock:
            self._forget(first, len(claimed))
            if self._files:
                self._keep(first, blocks)
        for future, block in zip(claimed, blocks, strict=True):
            future.set_result(block)

    def _keep(self, first: int, blocks: list[Block]) -> None:
        """Keep the blocks in place of those that were read longest ago."""
        self._here.update(enumerate(blocks, first))
        self._unread.update(range(first, first + len(blocks)))
        while len(self._here) > KEPT:
            read = (index for index in self._here if index not in self._unread)
            oldest = next(read, next(iter(self._here)))
            del self._here[oldest]
            self._unread.discard(oldest)

    def _fetched(self, first: int, count: int) -> list[Block]:
        offset = first * BLOCK
        size = min(count * BLOCK, self.size - offset)
        data = self._fetch(offset, size)
        if len(data) != size:
            raise TransferError(f"{size} bytes of the input were asked for, and {len(data)} came")
        with memoryview(data) as view:
            return [_mapped(view[start : start + BLOCK]) for start in range(0, size, BLOCK)]

    def _forget(self, first: int, count: int) -> None:
        for index in range(first, first + count):
            del self._coming[index]


def _mapped(data: memoryview) -> Block:
    """A copy in memory of its own: malloc would keep what threads let go of, for each thread."""
    block = mmap.mmap(-1, len(data))
    block.write(data)
    return block


class _InputFile(io.RawIOBase):
    """A read-only file on the blocks; a read brings no more than the rest of one.

    It reads ahead where reads follow each other: twice as far with each block, up to three spans.
    """

    def __init__(self, blocks: InputBlocks, checkpoint: Callable[[], None]) -> None:
        self._blocks = blocks
        self._checkpoint = checkpoint
        self._position = 0
        self._expected = -BLOCK  # where the last read ended: the first one follows none
        self._wanted = 0  # the block after the last that reads have named
        self._asked = 0  # the block after the last that was asked for
        self._window = 0  # blocks that are asked for beyond those
        blocks.opened()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._blocks.closed()
        super().close()

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blocks.size}
        if whence not in bases:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        position = bases[whence] + operator.index(offset)
        if position < 0:
            # What a plain file raises, and what zipfile and its like expect.
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def readinto(self, buffer: Any, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        return self._read(len(view), lambda data: view.__setitem__(slice(len(data)), data))

    def readall(self) -> bytes:
        self._check_open()
        whole = io.BytesIO()
        while self._read(self._blocks.size - self._position, whole.write):
            pass
        return whole.getvalue()

    def _read(self, size: int, take: Callable[[memoryview], object]) -> int:
        """Read what one block has of the next ``size`` bytes; returns how much that was."""
        size = min(size, self._blocks.size - self._position)
        if size <= 0:
            return 0
        self._checkpoint()
        index, start = divmod(self._position, BLOCK)
        self._read_ahead(index, -(-(self._position + size) // BLOCK))
        data = memoryview(self._blocks.get(index))[start : start + size]
        take(data)
        self._position += len(data)
        self._expected = self._position
        return len(data)

    def _read_ahead(self, index: int, end: int) -> None:
        """Ask for the blocks up to ``end``, and for more where reads follow each other."""
        if not 0 <= self._position - self._expected < BLOCK:
            self._blocks.let_go(self._expected // BLOCK, self._asked)
            self._window, self._wanted, self._asked = 0, end, index
        elif end > self._wanted:
            self._window = min(max(1, 2 * self._window), self._blocks.share)
            self._wanted = end
        self._asked = max(self._asked, index)
        span = max(1, self._blocks.share)
        while True:
            ahead = self._asked - index
            if self._asked < self._wanted and ahead < 2 * span:
                stop = min(self._asked + span, self._wanted)
            elif self._wanted <= self._asked < self._blocks.count and ahead < 2 * self._window:
                stop = min(self._asked + self._window, self._blocks.count)
            else:
                return
            self._blocks.ask_for(self._asked, stop)
            self._asked = stop

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
