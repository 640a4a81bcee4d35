"""Whoever builds a commit gets the same sdist and wheel, with what they should hold alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from release.pins import CONSTRAINTS

ROOT = CONSTRAINTS.parent
PACKAGE = "plugin_framework/"
VERSIONS = [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)]


@dataclass(frozen=True, slots=True)
class Built:
    sdist: Path
    wheel: Path

    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def metadata(self) -> Metadata:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            return Metadata.from_email(archive.read(name), validate=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout that are, or are to be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folder = tmp_path_factory.mktemp("sources")
    for name in filter(lambda name: (ROOT / name).is_file(), listed.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def package(sources: Path) -> set[str]:
    return {
        str(path.relative_to(sources)) for path in (sources / PACKAGE).rglob("*") if path.is_file()
    }


def _checkout(sources: Path, folder: Path, *, umask: int = 0o22, seconds: int = 0) -> None:
    """The sources with rights and dates of their own, and with what comes to lie there."""
    before = os.umask(umask)
    try:
        shutil.copytree(sources, folder, copy_function=shutil.copyfile)
        for name in ("plugin_framework/__pycache__/x.pyc", "dist/old.whl", ".env", "notes.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"{folder}")
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))


def _build(folder: Path, out: Path, *arguments: str, umask: int = 0o22) -> Built:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *arguments, folder],
        check=True,
        capture_output=True,
        umask=umask,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": str(umask)},
    )
    return Built(next(out.glob("*.tar.gz"), out), next(out.glob("*.whl")))


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("here")
    _checkout(sources, place / "source")
    return _build(place / "source", place / "out")


def test_another_build_is_the_same(built: Built, sources: Path, tmp_path: Path) -> None:
    """Byte for byte, with another folder, user's mask, date of the files and order of sets.

    The zlib is the same: another may compress the same content to other bytes.
    """
    place = tmp_path / "in another folder"
    place.mkdir()
    _checkout(sources, place / "source", umask=0o77, seconds=1_790_000_000)
    other = _build(place / "source", tmp_path / "out", umask=0o77)
    for one, two in ((built.sdist, other.sdist), (built.wheel, other.wheel)):
        assert one.name == two.name
        assert one.read_bytes() == two.read_bytes()


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(
    built: Built, sources: Path, tmp_path: Path
) -> None:
    _checkout(sources, tmp_path / "source")
    direct = _build(tmp_path / "source", tmp_path / "out", "--wheel")
    assert direct.wheel.read_bytes() == built.wheel.read_bytes()


def test_the_wheel_has_each_file_of_the_package_and_no_other(
    built: Built, package: set[str]
) -> None:
    about = built.in_wheel() - package
    (info,) = {name.partition("/")[0] for name in about}
    inside = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert about == {f"{info}/{name}" for name in inside}
    assert built.in_wheel() >= package


def test_the_wheel_has_what_is_not_python(built: Built) -> None:
    names = built.in_wheel()
    assert f"{PACKAGE}py.typed" in names
    kinds = {Path(name).suffix for name in names if name.startswith(PACKAGE)}
    assert {".css", ".html", ".js", ".lua", ".md", ".tmpl"} <= kinds


def test_the_wheel_is_for_every_machine_and_holds_nothing_compiled(built: Built) -> None:
    assert built.wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built.wheel) as archive:
        starts = {name: archive.open(name).read(4) for name in archive.namelist()}
    assert [name for name, start in starts.items() if start in {b"\x7fELF", b"PK\x03\x04"}] == []


def test_the_sdist_has_what_the_wheel_is_made_of(built: Built, package: set[str]) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    beside = {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names == package | beside
    assert {(member.uname, member.gname, member.mtime) for member in members} == {
        ("", "", 1_700_000_000)
    }


def test_what_the_wheel_says_of_itself(built: Built) -> None:
    """Read as strictly as whoever takes uploads does."""
    said = built.metadata()
    assert str(said.version) == built.wheel.name.split("-")[1]
    assert (said.name, said.license_expression) == ("datahub-plugin-framework", "Apache-2.0")
    assert said.description
    assert said.description_content_type == "text/markdown"
    assert str(said.requires_python) == ">=3.11"
    assert [one for one in said.classifiers or () if ":: Python :: 3." in one] == VERSIONS
