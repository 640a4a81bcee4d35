"""Makes thumbnails of the pictures in a ZIP archive."""

from __future__ import annotations

import json
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image, ImageOps

from plugin_framework import (
    DatahubPlugin,
    Field,
    PluginConfig,
    PluginError,
    TaskContext,
    TaskResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# The formats that Pillow reads by itself; others (EPS) would start programs on hostile input.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
PICTURES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}

UNPACKING_ERRORS = (
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    OSError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

MiB = 1024 * 1024
MOST_ENTRIES = 50_000
MOST_BYTES = 20 * 1024 * MiB
MOST_RATIO = 200
RATIO_FROM = 100 * MiB
"""Small archives may be as dense as they like: a white bitmap is."""
PICTURE_BYTES = 128 * MiB
PICTURE_PIXELS = 64_000_000
"""At 4 bytes each, this and its copies bound the memory."""
NAME_BYTES = 200
FOLDERS = 16
"""No file system takes names of any length, and ZIP takes 65,535 bytes with all folders."""


class PictureError(Exception):
    """One picture cannot be done; the others can."""


class ImageThumbnails(DatahubPlugin):
    """Makes thumbnails of all pictures in a ZIP archive."""

    class Config(PluginConfig):
        """What the thumbnails are like."""

        size: int = Field(
            256,
            ge=16,
            le=2048,
            title="Size",
            description="Longest side in pixels; smaller pictures are not enlarged.",
        )
        format: Literal["jpeg", "png", "webp"] = Field(
            "jpeg",
            title="Format",
            description="JPEG has no transparency: it is shown on white.",
        )
        quality: int = Field(
            85, ge=1, le=95, title="Quality", description="Of JPEG and WebP, from 1 to 95."
        )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Write ``thumbnails.zip``, and ``report.json`` with what failed and what was skipped.

        Entries that are not pictures by their names are skipped and count for nothing.
        """
        with open_archive(ctx) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            refuse_bomb(entries)
            pictures = [entry for entry in entries if is_picture(entry)]
            skipped = [entry.filename for entry in entries if not is_picture(entry)]
            failed = write_thumbnails(archive, pictures, ctx)
        write_report(ctx, failed, skipped)
        return TaskResult(
            total_counts=len(pictures),
            success_counts=len(pictures) - len(failed),
            failed_counts=len(failed),
            skipped=len(skipped),
        )


def open_archive(ctx: TaskContext[Any]) -> zipfile.ZipFile:
    """The input as an archive, of which only what is needed is fetched."""
    try:
        return zipfile.ZipFile(ctx.open_input())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise PluginError(f"the input is not a ZIP archive that can be read: {error}") from error


def refuse_bomb(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to far more than it seems.

    Sizes as the archive declares them will do: no entry is read beyond its declared size.

    Raises:
        PluginError: too many entries, too many bytes, or a suspicious compression ratio.
    """
    packed = sum(entry.compress_size for entry in entries)
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES:
        raise PluginError(
            f"the archive has {len(entries):,} entries; at most {MOST_ENTRIES:,} may be"
        )
    if unpacked > MOST_BYTES:
        raise PluginError(
            f"the archive unpacks to {unpacked:,} bytes; at most {MOST_BYTES:,} may be"
        )
    if unpacked > RATIO_FROM and unpacked > MOST_RATIO * packed:
        raise PluginError(f"the archive unpacks to over {MOST_RATIO} times its size: a ZIP bomb?")


def is_picture(entry: zipfile.ZipInfo) -> bool:
    """Whether the entry's name is a picture's; macOS adds files that only look so."""
    path = PurePosixPath(entry.filename)
    return path.suffix.lower() in PICTURES and "__MACOSX" not in path.parts


def write_thumbnails(
    archive: zipfile.ZipFile,
    pictures: list[zipfile.ZipInfo],
    ctx: TaskContext[ImageThumbnails.Config],
) -> list[dict[str, str]]:
    """Write ``thumbnails.zip``; returns the name of each picture that failed, and why."""
    failed: list[dict[str, str]] = []
    names = safe_names((entry.filename for entry in pictures), SUFFIXES[ctx.config.format])
    # Stored: pictures are compressed already.
    with zipfile.ZipFile(ctx.output_dir / "thumbnails.zip", "w") as thumbnails:
        for entry, name in ctx.track(zip(pictures, names, strict=True), total=len(pictures)):
            try:
                thumbnails.writestr(name, thumbnail(read_picture(archive, entry), ctx.config))
            except PictureError as error:
                failed.append({"name": entry.filename, "reason": str(error)})
    return failed


def read_picture(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's bytes.

    Raises:
        PictureError: it is encrypted, damaged, too large or compressed in an unknown way.
    """
    if entry.flag_bits & 1:
        raise PictureError("it is encrypted")
    if entry.file_size > PICTURE_BYTES:
        raise PictureError(f"it is larger than {PICTURE_BYTES // MiB} MiB")
    try:
        return archive.read(entry)
    except UNPACKING_ERRORS as error:
        raise PictureError(f"it cannot be unpacked: {error}") from error


def thumbnail(picture: bytes, config: ImageThumbnails.Config) -> bytes:
    """The picture made small, upright, and written in the format asked for.

    Raises:
        PictureError: it cannot be decoded, or has too many pixels.
    """
    try:
        with Image.open(BytesIO(picture), formats=FORMATS) as image:
            refuse_huge(image)
            image.draft("RGB", (2 * config.size, 2 * config.size))
            small = with_plain_mode(image)
            small.thumbnail((config.size, config.size))
            small = ImageOps.exif_transpose(small)
        return encoded(small, config)
    except PictureError:
        raise
    except Exception as error:
        # Broken files lead Pillow to errors of any kind.
        raise PictureError(f"it cannot be decoded: {error}") from error


def refuse_huge(image: Image.Image) -> None:
    """Refuse an image, opened but not yet decoded, that would take too much memory."""
    if image.width * image.height > PICTURE_PIXELS:
        raise PictureError(f"it has more than {PICTURE_PIXELS:,} pixels")


def with_plain_mode(image: Image.Image) -> Image.Image:
    """The image in RGB or RGBA, which can be scaled smoothly; 16-bit greys keep their shades."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode == mode:
        return image
    plain = image.convert(mode)
    plain.getexif().update(image.getexif())
    if image.mode not in {"RGB", "RGBA"}:
        plain.info.pop("icc_profile", None)  # it describes other colours, such as CMYK's
    return plain


def encoded(image: Image.Image, config: ImageThumbnails.Config) -> bytes:
    """The image's bytes in the format asked for, without metadata but its colour profile."""
    if config.format == "jpeg" and image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    profile = image.info.get("icc_profile")
    image.info = {}
    target = BytesIO()
    image.save(target, config.format, quality=config.quality, icc_profile=profile)
    return target.getvalue()


def safe_names(names: Iterator[str], suffix: str) -> Iterator[str]:
    """Names for the thumbnails: as given, with the new suffix, but safe to unpack and unique.

    No name leads out of the folder it is unpacked into, and none differs from another by case
    alone: ``../a.png`` gives ``a.jpg``, and ``A.gif`` then ``A (2).jpg``. Long names are cut
    short, and of more than ``FOLDERS`` folders the innermost are kept.
    """
    taken: set[str] = set()
    numbers = Counter[str]()  # the last one given, by stem: to begin anew would take n² steps
    for name in names:
        *folders, file = name.replace("\\", "/").split("/")
        parts = [*map(safe_part, folders[-FOLDERS:]), safe_part(PurePosixPath(file).stem)]
        stem = "/".join(filter(None, parts))
        candidate, key = f"{stem}{suffix}", stem.casefold()
        while candidate.casefold() in taken:
            numbers[key] += 1
            candidate = f"{stem} ({numbers[key] + 1}){suffix}"
        taken.add(candidate.casefold())
        yield candidate


def safe_part(part: str) -> str:
    """A folder's or file's name with nothing in it that any system treats specially."""
    kept = "".join("_" if mark in '<>:"|?*' or not mark.isprintable() else mark for mark in part)
    return kept.encode()[:NAME_BYTES].decode(errors="ignore").strip(" .")


def write_report(
    ctx: TaskContext[ImageThumbnails.Config], failed: list[dict[str, str]], skipped: list[str]
) -> None:
    """Write ``report.json``: each failed picture with its reason, and what was skipped."""
    report = {"failed": failed, "skipped": skipped}
    text = json.dumps(report, ensure_ascii=True, indent=1)
    (ctx.output_dir / "report.json").write_text(text, "utf-8")
