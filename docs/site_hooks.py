"""What the documentation site needs beyond the pages; mkdocs calls the functions ``on_...``.

The pages are written to be read where the code is hosted. Here the navigation is made from their
index, links to files that the site does not have become text, and the reference of the Python
surface is drawn by mkdocstrings.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages that are elsewhere in the repository, and where the site has them.
BROUGHT_IN = {
    "README.md": "project/readme.md",
    "example_plugins/README.md": "project/example-plugins.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
}
ALIASES = {"example_plugins": "example_plugins/README.md"}

_FENCE = re.compile(r"^( *)(```+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[[^\]]+\])\(([^)\s]+)\)")
_HEADING = re.compile(r"^## ([^:\n]+).*$", re.MULTILINE)
_API = re.compile(r"<!-- api: ([\w.]+) -->\n.*?<!-- end of api -->", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation, from the index and the folders."""
    config.nav = navigation(Path(config.docs_dir))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring in the pages from elsewhere."""
    for source, page in BROUGHT_IN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links, and have mkdocstrings draw what is marked for it."""
    del files
    markdown = _API.sub(r"::: \1", markdown)
    return mended(markdown, page.file.src_uri, config.repo_url or "")


def navigation(docs: Path) -> list[dict[str, Any]]:
    """A section for each heading of the index, with the pages it lists, in its order.

    A page that is listed nowhere comes at the end of the section that has its folder.
    """
    sections = dict(_sections((docs / "index.md").read_text(encoding="utf-8")))
    listed = {page: title for title, pages in sections.items() for page in pages}
    homes = {page.partition("/")[0]: title for page, title in listed.items()}
    nav: dict[str, list[Any]] = {
        title: [{text: page} for page, text in pages.items()] for title, pages in sections.items()
    }
    for folder in sorted({path.parent for path in docs.rglob("*.md")} - {docs}):
        pages = {path.relative_to(docs).as_posix(): path for path in sorted(folder.glob("*.md"))}
        new = [{_title(path): page} for page, path in pages.items() if page not in listed]
        if folder.parent == docs:
            nav[homes[folder.name]] += new
        elif new:
            top = folder.relative_to(docs).parts[0]
            nav[homes[top]].append({f"{folder.name.capitalize()}, one by one": new})
    return [{"Documentation": "index.md"}, *({title: pages} for title, pages in nav.items())]


def _title(path: Path) -> str:
    heading = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else path.stem


def _sections(index: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The headings of the index; what is below each as texts by pages."""
    _, *parts = _HEADING.split(index)
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        links = (
            (site_path("docs/index.md", target), shown) for shown, target in _LINK.findall(text)
        )
        yield title, {page: " ".join(shown.strip("[]").split()) for page, shown in links if page}


def site_path(source: str, target: str) -> str | None:
    """Where the site has what a file of the repository links to, if it has it."""
    path = repository_path(source, target)
    path = ALIASES.get(path, path)
    return BROUGHT_IN.get(path) or (path[len("docs/") :] if path.startswith("docs/") else None)


def repository_path(source: str, target: str) -> str:
    """The target of a link, from the top of the repository."""
    path = target.partition("#")[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def mended(markdown: str, page: str, repository: str) -> str:
    """A page with links that work in the site; ``repository`` shows other files, if not empty."""
    source = {brought: path for path, brought in BROUGHT_IN.items()}.get(page, f"docs/{page}")
    mend = partial(_mended_link, page=page, source=source, repository=repository.rstrip("/"))
    done, parts = 0, []
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(mend, markdown[done : fence.start()]), fence[0]]
        done = fence.end()
    return "".join([*parts, _LINK.sub(mend, markdown[done:])])


def _mended_link(match: re.Match[str], *, page: str, source: str, repository: str) -> str:
    shown, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match[0]
    anchor = "".join(target.partition("#")[1:])
    found = site_path(source, target)
    if found and not (ROOT / "docs" / found).is_dir():
        return f"{shown}({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"
    path = repository_path(source, target)
    if repository:
        return f"{shown}({repository}/blob/HEAD/{path}{anchor})"
    text = shown.strip("![]")
    return text if text.strip("`") == path else f"{text} (`{path}`)"
