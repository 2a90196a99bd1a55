"""Which files are pictures: by the first bytes, and by a known ending where those are damaged."""

from __future__ import annotations

import re
from pathlib import Path

HEAD_BYTES = 32

ENDINGS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".tif",
        ".tiff",
        ".btf",
        ".svs",
        ".ndpi",
        ".webp",
        ".gif",
        ".bmp",
        ".jp2",
    }
    | {".j2k", ".jpx", ".jxl", ".heic", ".heif", ".avif", ".ppm", ".pgm", ".pnm", ".pfm", ".exr", ".hdr", ".v", ".vips"}
    # Of cameras, microscopes, maps and editors: read or refused, but never passed over.
    | {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srw", ".raf", ".orf", ".rw2", ".pef", ".iiq", ".3fr", ".x3f"}
    | {".psd", ".psb", ".tga", ".qoi", ".jxr", ".jpf", ".jpm", ".j2c", ".ecw", ".sid", ".fits", ".mrxs", ".scn", ".czi"}
)
"""A file of a folder that ends so is on the list whatever is in it: if it is no picture, its owner wants to know."""

STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"II*\x00",  # TIFF, either byte order, and BigTIFF
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"GIF87a",
    b"GIF89a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000: box and codestream
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n",  # JPEG XL: box and codestream
    b"\xff\x0a",
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"#?RADIANCE",
    b"\x08\xf2\xa6\xb6",  # libvips, either byte order
    b"\xb6\xa6\xf2\x08",
)

PATTERNS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"RIFF....WEBP",
        rb"....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis)",  # HEIF and AVIF, but not MP4
        rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",  # BMP; "BM" alone starts many a text
        rb"P[1-6Ff][ \t\r\n]+[\d#]",  # netpbm
    )
)


def is_picture(head: bytes) -> bool:
    """Whether a file that starts with `head` (HEAD_BYTES suffice) is a picture of a kind that can be read."""
    return head.startswith(STARTS) or any(pattern.match(head) for pattern in PATTERNS)


def holds_picture(path: Path) -> bool:
    """Whether the content of a regular file is a picture; False where it cannot be read."""
    try:
        if not path.is_file():  # reading from a pipe would wait, and take what it holds
            return False
        with path.open("rb") as file:
            return is_picture(file.read(HEAD_BYTES))
    except OSError:
        return False


def wanted(path: Path) -> bool:
    """Whether a file found in a folder belongs on the list."""
    return path.suffix.lower() in ENDINGS or holds_picture(path)
