"""The example plugins keep the rules for plugins."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from example_plugins.csv_profile import CsvProfile
from example_plugins.image_thumbnails import ImageThumbnails
from example_plugins.parquet_convert import ParquetConvert
from PIL import Image

from plugin_framework.testing.conformance import PluginConformance

TABLE = b"number,day,text\n" + b"".join(
    b"%d,2013-01-%02d,some text of row %d\n" % (number, number % 28 + 1, number % 97)
    for number in range(2_000)
)
PICTURES = sorted(Path(mpl.get_data_path(), "sample_data").glob("*.[jp][pn]g"))


def packed(pictures: dict[str, bytes]) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, picture in pictures.items():
            archive.writestr(name, picture)
    return content.getvalue()


class TestCsvProfile(PluginConformance):
    plugin = CsvProfile
    samples = (TABLE,)


class TestParquetConvert(PluginConformance):
    plugin = ParquetConvert
    samples = (TABLE,)


class TestImageThumbnails(PluginConformance):
    plugin = ImageThumbnails
    samples = (packed({picture.name: picture.read_bytes() for picture in PICTURES}),)

    @classmethod
    def grow(cls, sample: Path, size: int, folder: Path) -> Path:  # noqa: ARG003 - its own do
        """An archive of bitmaps, which take many bytes and little time."""
        bitmap = BytesIO()
        with Image.open(PICTURES[0]) as picture:
            picture.convert("RGB").resize((1200, 1200)).save(bitmap, "BMP")
        count = size // bitmap.tell() + 1
        archive = folder / f"{size}.zip"
        archive.write_bytes(packed({f"{number}.bmp": bitmap.getvalue() for number in range(count)}))
        return archive
