from __future__ import annotations

import json
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from example_plugins.image_thumbnails import ImageThumbnails, safe_names
from PIL import Image

from example_plugins import image_thumbnails
from plugin_framework import PluginError, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(mpl.get_data_path()) / "sample_data"
HOPPER = (SAMPLES / "grace_hopper.jpg").read_bytes()
LOGO = (SAMPLES / "logo2.png").read_bytes()
PACK = (SAMPLES / "Minduka_Present_Blue_Pack.png").read_bytes()


def packed(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return target.getvalue()


def picture(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


@pytest.fixture
def thumbnails(run: Callable[..., Any]) -> Callable[..., tuple[Any, dict[str, Image.Image], Any]]:
    """Runs the plugin; returns the result, the thumbnails by name, and the report."""

    def start(
        source: bytes | dict[str, bytes], **config: Any
    ) -> tuple[Any, dict[str, Image.Image], Any]:
        source = source if isinstance(source, bytes) else packed(source)
        done = run(ImageThumbnails, source, **config)
        report = json.loads((done.outputs / "report.json").read_text())
        with zipfile.ZipFile(done.outputs / "thumbnails.zip") as archive:
            images = {name: Image.open(BytesIO(archive.read(name))) for name in archive.namelist()}
        return done.result, images, report

    return start


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_real_pictures(thumbnails: Callable[..., Any], kind: str) -> None:
    entries = {"a/hopper.jpg": HOPPER, "logo.png": LOGO, "pack.png": PACK}
    result, images, _ = thumbnails(entries, format=kind, size=128)
    assert (result["total_counts"], result["success_counts"]) == (3, 3)
    suffix = {"jpeg": ".jpg"}.get(kind, f".{kind}")
    assert list(images) == [f"a/hopper{suffix}", f"logo{suffix}", f"pack{suffix}"]
    for name, image in images.items():
        assert image.format == kind.upper(), name
        assert max(image.size) == 128


def test_a_thumbnail_looks_like_its_picture(thumbnails: Callable[..., Any]) -> None:
    _, images, _ = thumbnails({"hopper.jpg": HOPPER}, size=64, format="png")
    with Image.open(BytesIO(HOPPER)) as image:
        expected = image.resize(images["hopper.png"].size, Image.Resampling.LANCZOS)
    found = np.asarray(images["hopper.png"], float)
    assert np.abs(found - np.asarray(expected, float)).mean() < 6


def test_orientation(thumbnails: Callable[..., Any]) -> None:
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it upright: the left side comes up
    entries = {
        "a.jpg": picture(image, "JPEG", exif=exif),
        "b.png": picture(image.convert("P"), "PNG", exif=exif),
    }
    _, images, _ = thumbnails(entries, size=50)
    for name in ("a.jpg", "b.jpg"):
        assert images[name].size == (25, 50)
        red, _, blue = images[name].getpixel((12, 5))
        assert blue > 200 > red
        assert not images[name].getexif()


def test_transparency(thumbnails: Callable[..., Any]) -> None:
    entries = {"clear.png": picture(Image.new("RGBA", (40, 40), (255, 0, 0, 0)), "PNG")}
    _, images, _ = thumbnails(entries)
    assert images["clear.jpg"].getpixel((20, 20)) == (255, 255, 255)
    _, images, _ = thumbnails(entries, format="png")
    assert images["clear.png"].getpixel((20, 20))[3] == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "F", "RGB"])
def test_modes(thumbnails: Callable[..., Any], mode: str) -> None:
    grey = Image.new("L", (60, 30), 128)
    image = Image.new("I;16", (60, 30), 128 * 256) if mode == "I;16" else grey.convert(mode)
    _, images, report = thumbnails({"a.tif": picture(image, "TIFF")}, format="png")
    assert not report["failed"]
    assert images["a.png"].size == (60, 30)
    if mode != "1":
        assert images["a.png"].convert("L").getpixel((30, 15)) == pytest.approx(128, abs=3)


def test_broken_pictures_fail_one_by_one(thumbnails: Callable[..., Any]) -> None:
    entries = {
        "good.jpg": HOPPER,
        "cut.jpg": HOPPER[: len(HOPPER) // 2],
        "text.png": b"not a picture",
        "empty.gif": b"",
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "notes.txt": b"hello",
        "inner.zip": packed({"a.jpg": HOPPER}),
        "__MACOSX/._good.jpg": b"resource fork",
    }
    result, images, report = thumbnails(entries)
    assert list(images) == ["good.jpg"]
    assert result == {
        "total_counts": 5, "success_counts": 1, "failed_counts": 4, "skipped": 3
    }  # fmt: skip
    assert [failed["name"] for failed in report["failed"]] == list(entries)[1:5]
    assert report["skipped"] == list(entries)[5:]


def test_damaged_and_encrypted_entries_fail(thumbnails: Callable[..., Any]) -> None:
    data = bytearray(packed({"bad.jpg": HOPPER, "locked.jpg": HOPPER, "good.jpg": HOPPER}, 0))
    data[5000] ^= 0xFF
    locked = data.index(b"locked.jpg", data.index(b"PK\x01\x02")) - 46
    data[locked + 8] |= 1
    _, images, report = thumbnails(bytes(data))
    assert list(images) == ["good.jpg"]
    reasons = {failed["name"]: failed["reason"] for failed in report["failed"]}
    assert "CRC" in reasons["bad.jpg"]
    assert "encrypted" in reasons["locked.jpg"]


def test_picture_with_too_many_pixels_fails(thumbnails: Callable[..., Any]) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    result, images, _ = thumbnails({"bomb.png": bomb, "good.jpg": HOPPER})
    assert result["failed_counts"] == 1
    assert list(images) == ["good.jpg"]


def test_zip_bombs_are_refused(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="bomb"):
        run(ImageThumbnails, packed({f"{part}.bmp": bytes(60 * 1024**2) for part in range(2)}))
    monkeypatch.setattr(image_thumbnails, "MOST_BYTES", 1000)
    with pytest.raises(PluginError, match="unpacks to"):
        run(ImageThumbnails, packed({"a.jpg": HOPPER}))
    monkeypatch.setattr(image_thumbnails, "MOST_ENTRIES", 2)
    with pytest.raises(PluginError, match="entries"):
        run(ImageThumbnails, packed({str(number): b"" for number in range(3)}))


@pytest.mark.parametrize(
    "data",
    [b"", b"not a ZIP archive", packed({"a.jpg": HOPPER})[:-30]],
    ids=["empty", "text", "cut"],
)
def test_not_a_zip(run: Callable[..., Any], data: bytes) -> None:
    with pytest.raises(PluginError, match="not a ZIP"):
        run(ImageThumbnails, data)


def test_names_are_safe_and_unique() -> None:
    given = [
        "a/b.png",
        "a/B.gif",
        "../../x.png",
        "/etc/y.png",
        "c:\\z.png",
        "a/./b.jpg",
        "q?\n.png",
    ]
    assert list(safe_names(iter(given), ".jpg")) == [
        "a/b.jpg", "a/B (2).jpg", "x.jpg", "etc/y.jpg", "c_/z.jpg", "a/b (3).jpg", "q__.jpg"
    ]  # fmt: skip


@pytest.mark.timeout(30)  # less than a second, but minutes where the steps are n²
def test_as_many_equal_names_as_there_may_be() -> None:
    most = image_thumbnails.MOST_ENTRIES // 2
    given = [f"a ({number}).png" for number in range(most)] + ["A.png"] * most
    names = list(safe_names(iter(given), ".jpg"))
    assert len({name.casefold() for name in names}) == 2 * most
    assert names[-1] == f"A ({2 * most - 2}).jpg"


def test_a_name_too_long_for_zip_is_cut_short(thumbnails: Callable[..., Any]) -> None:
    long, deep = "x" * 60_000, "y/" * 30_000
    archive = packed({f"{long}.png": LOGO, f"{deep}a.png": LOGO, "good.png": LOGO})
    # Without the flag that says UTF-8, each such byte is an é, which takes two bytes in UTF-8.
    archive = archive.replace(b"x" * 60_000, b"\x82" * 60_000)
    archive = archive.replace(b"y/" * 30_000, b"\xb0/" * 30_000)
    result, images, _ = thumbnails(archive)
    assert result["success_counts"] == 3
    assert list(images) == ["é" * 100 + ".jpg", "░/" * 16 + "a.jpg", "good.jpg"]


def test_archive_without_pictures(thumbnails: Callable[..., Any]) -> None:
    result, images, _ = thumbnails({"folder/": b"", "notes.txt": b"hello"})
    assert result["total_counts"] == 0
    assert not images


def test_progress_and_cancel(run: Callable[..., Any]) -> None:
    archive = packed({f"{number}.png": LOGO for number in range(10)})
    assert run(ImageThumbnails, archive).progressed == [10.0 * done for done in range(1, 11)]
    with pytest.raises(TaskCancelled):
        run(ImageThumbnails, archive, cancel_at=50)
