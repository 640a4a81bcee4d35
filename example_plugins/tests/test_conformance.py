"""The example plugins keep the rules for plugins."""

from __future__ import annotations

import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import matplotlib as mpl
import pytest
from example_plugins.csv_profile import CsvProfile
from example_plugins.dedupe_records import DedupeRecords
from example_plugins.image_thumbnails import ImageThumbnails
from example_plugins.parquet_convert import ParquetConvert
from example_plugins.pdf_text import PdfText
from example_plugins.web_archive import WebArchive
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from plugin_framework.testing import PluginConformance

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
TABLE = b"number,day,text\n" + b"".join(
    b"%d,2013-01-%02d,some text of row %d\n" % (number, number % 28 + 1, number % 97)
    for number in range(2_000)
)
PICTURES = sorted(Path(mpl.get_data_path(), "sample_data").glob("*.[jp][pn]g"))


def packed(pictures: dict[str, bytes]) -> bytes:
    """An archive with these pictures."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, picture in pictures.items():
            archive.writestr(name, picture)
    return content.getvalue()


def written(pages: int) -> bytes:
    """A PDF with so many pages of text."""
    content = BytesIO()
    with PdfPages(content) as pdf:
        for number in range(pages):
            figure = Figure()
            figure.text(0.1, 0.5, f"This is page {number}.")
            pdf.savefig(figure)
    return content.getvalue()


class TestCsvProfile(PluginConformance):
    plugin = CsvProfile
    samples = (TABLE,)


@pytest.mark.long
class TestParquetConvert(PluginConformance):
    plugin = ParquetConvert
    samples = (TABLE,)
    # Its buffers have filled by then.
    sizes = (64 * MIB, 88 * MIB)


@pytest.mark.long
class TestDedupeRecords(PluginConformance):
    plugin = DedupeRecords
    samples = (TABLE,)
    config: ClassVar = {"processes": 1, "memory_mb": 64}
    # DuckDB has filled what it may by then.
    sizes = (16 * MIB, 32 * MIB)


class TestImageThumbnails(PluginConformance):
    plugin = ImageThumbnails
    samples = (packed({picture.name: picture.read_bytes() for picture in PICTURES}),)
    # The file that it opens keeps up to 64 MiB of what was read.
    sizes = (72 * MIB, 104 * MIB)

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


class TestPdfText(PluginConformance):
    plugin = PdfText
    samples = (written(4),)
    sizes = (4 * MIB, 16 * MIB)

    @classmethod
    def grow(cls, sample: Path, size: int, folder: Path) -> Path:  # noqa: ARG003 - its own do
        """A PDF of pictures, which take many bytes and few pages."""
        noise = Image.effect_noise((1600, 1600), 100)
        page = BytesIO()
        noise.save(page, "PDF")
        target = folder / f"{size}.pdf"
        more = [noise] * (size // page.tell())
        noise.save(target, "PDF", save_all=True, append_images=more)
        return target


class TestWebArchive(PluginConformance):
    plugin = WebArchive
    config: ClassVar = {"delay_seconds": 0}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def site(cls) -> Iterator[None]:
        """Serves the guides, and has the sample name them."""
        handler = partial(Quiet, directory=str(GUIDES))
        with (
            pytest.MonkeyPatch.context() as environment,
            ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        ):
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                environment.delenv(name, raising=False)
                environment.delenv(name.upper(), raising=False)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            pages = [path.name for path in sorted(GUIDES.glob("*.md"))[:6]]
            url = f"http://127.0.0.1:{server.server_port}"
            cls.samples = ("".join(f"{url}/{page}\n" for page in pages).encode(),)
            yield
            server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""
