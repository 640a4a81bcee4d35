"""Where the code of plugins lies, and what of it changes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from itertools import islice
from pathlib import Path

from watchfiles import Change, watch

MOST_FOLDERS = 2000
"""Each costs a watch, of which the kernel gives out so many; a home folder has more."""

DEBOUNCE_MS = 300
LOOK_MS = 500
"""How often the watch looks whether it is over."""

_SUFFIXES = frozenset({".py", ".so"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_FOREIGN = frozenset({"__pycache__", "node_modules", *_INSTALLED})

log: logging.Logger = logging.getLogger("datahub.dev")


class Sources:
    """The files that the modules of plugins may be made of.

    Nothing is imported: what is beside a plugin's module, or in packages there, counts as its code.
    ``spared`` is a folder that is not looked into.
    """

    def __init__(self, modules: Iterable[str], *, spared: Path) -> None:
        self._modules = tuple(modules)
        self._spared = spared.resolve()

    def folders(self) -> list[Path]:
        """All folders that exist now, the current one first: it has ``.env``."""
        importlib.invalidate_caches()
        found = dict.fromkeys([Path.cwd()])
        for module in self._modules:
            found.update(dict.fromkeys(self._below(module)))
        folders = list(islice(found, MOST_FOLDERS))
        if len(found) > MOST_FOLDERS:
            log.warning("of %d folders, changes are seen in %d", len(found), MOST_FOLDERS)
        return folders

    def _below(self, module: str) -> Iterator[Path]:
        spec = importlib.util.find_spec(module.partition(".")[0])
        for root, whole in _roots(spec) if spec else [(Path.cwd(), True)]:
            if not whole:
                yield root
                continue
            for folder, inner, _ in os.walk(root):
                yield Path(folder).resolve()
                inner[:] = [name for name in sorted(inner) if self._is_code(Path(folder, name))]

    def _is_code(self, folder: Path) -> bool:
        """Whether modules can be imported from there."""
        return (
            folder.name.isidentifier()
            and folder.name not in _FOREIGN
            and not (folder / "pyvenv.cfg").exists()
            and folder.resolve() != self._spared
        )


def _roots(spec: ModuleSpec) -> Iterator[tuple[Path, bool]]:
    """Folders, and whether those below them count, too."""
    for place in spec.submodule_search_locations or ():
        package = Path(place)
        yield (package if _is_installed(package) else package.parent), True
    if not spec.submodule_search_locations and spec.origin:
        folder = Path(spec.origin).absolute().parent
        yield folder, folder.name not in _INSTALLED


def _is_installed(folder: Path) -> bool:
    return not _INSTALLED.isdisjoint(folder.parts)


class Watch:
    """A thread that tells, by name, which files have changed, as long as the ``with`` block."""

    def __init__(self, sources: Sources, on_change: Callable[[list[str]], None]) -> None:
        self._sources = sources
        self._on_change = on_change
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                self._watch_folders()
            except OSError as error:
                log.error("changes of files are not seen: %s", error)  # noqa: TRY400 - one line
                return

    def _watch_folders(self) -> None:
        """Watch what there is, until a folder comes or goes."""
        changes = watch(
            *self._sources.folders(),
            watch_filter=_counts,
            debounce=DEBOUNCE_MS,
            stop_event=self._over,
            rust_timeout=LOOK_MS,
            recursive=False,
            ignore_permission_denied=True,
        )
        for changed in changes:
            files = sorted({Path(path).name for _, path in changed if _is_source(Path(path))})
            if files:
                self._on_change(files)
            if any(not _is_source(Path(path)) for _, path in changed):
                return


def _counts(change: Change, path: str) -> bool:
    found = Path(path)
    if _is_source(found):
        return True
    return change is Change.added and found.name.isidentifier() and found.is_dir()


def _is_source(path: Path) -> bool:
    return path.suffix in _SUFFIXES or path.name == ".env"
