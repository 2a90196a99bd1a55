"""Formats that libvips does not read: decoded as a whole by Pillow, pillow-heif or imagecodecs, or refused by name.

A file is recognised by its first bytes. The libraries are optional (extra `codecs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size

from . import jpeg
from .vips import VipsError, VipsImage, from_pixels, stand_in

Decode = Callable[[Path], NDArray[Any]]

HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")


@dataclass(frozen=True)
class Foreign:
    """How a format is read. size: of a file, by its header; decode: all pixels, (rows, cols[, bands])."""

    name: str
    package: str
    size: Callable[[Path], Size]
    decode: Decode


def recognise(path: Path, shown: str) -> Foreign | None:
    """The reader of a format that libvips is not asked for; None where libvips is.

    Raises ImageError, with the remedy, for formats that nothing here reads; OSError.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start[:2] == b"\xff\xd8":
        header = jpeg.read_header(path)
        reason = header.refusal if header else None
        return Foreign(reason, "imagecodecs", _jpeg_size, _decode_jpeg) if reason else None
    for name, package, is_a, size, decode in _TABLE:
        if is_a(start):
            return Foreign(name, package, size, decode)
    for name, is_a, remedy in _REFUSED:
        if is_a(start):
            raise ImageError(f"{shown}: {name} is not supported here; {remedy}")
    return None


def header_of(foreign: Foreign, path: Path, shown: str) -> VipsImage:
    """A stand-in for the header. Raises ImageError."""
    size_wh = guarded(foreign, foreign.size, path, shown)
    # What the bands are is known once they are decoded: 8 bits and RGB here, as is said where it is used.
    return stand_in(size_wh, 3, np.dtype(np.uint8), "srgb", {})


def open_pixels(foreign: Foreign, path: Path, shown: str) -> VipsImage:
    """All pixels, decoded, as 8-bit RGB or what else they are. Raises ImageError, VipsError."""
    pixels = np.asarray(guarded(foreign, foreign.decode, path, shown))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise VipsError(f"pixels of the kind {pixels.dtype}, {pixels.ndim} axes")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    elif pixels.shape[2] == 4:
        share = pixels[:, :, 3:].astype(np.uint16)  # transparent parts lie on white
        pixels = ((pixels[:, :, :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
    return from_pixels(np.ascontiguousarray(pixels[:, :, :3]), "srgb", None)


def guarded(foreign: Foreign, call: Callable[[Path], Any], path: Path, shown: str) -> Any:
    """Call a foreign library, whose every exception becomes ours."""
    try:
        return call(path)
    except ImportError as error:
        raise ImageError(
            f"{shown}: {foreign.name} is not supported here; install {foreign.package} (pip install"
            " 'gigacount[codecs]'), or convert the picture to TIFF, PNG or JPEG"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{shown}: damaged, or no {foreign.name} file ({reason}); get it anew") from error


def _pillow(path: Path) -> Any:
    import warnings

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # sizes are checked by us
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(path)


def _heif(path: Path) -> Any:
    import pillow_heif

    return pillow_heif.open_heif(path, convert_hdr_to_8bit=True)


def _pillow_size(path: Path) -> Size:
    with _pillow(path) as image:
        width, height = image.size
    return width, height


def _decode_pillow(path: Path) -> NDArray[Any]:
    with _pillow(path) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image, np.uint16)
        alpha = "A" in image.mode or "transparency" in image.info
        mode = "RGBA" if alpha else "L" if image.mode in ("L", "1") else "RGB"
        return np.asarray(image.convert(mode))


def _heif_size(path: Path) -> Size:
    width, height = _heif(path).size
    return width, height


def _decode_heif(path: Path) -> NDArray[Any]:
    return np.asarray(_heif(path))


def _jpeg_size(path: Path) -> Size:
    header = jpeg.read_header(path)
    if header is None:
        raise ValueError("no header")
    return header.size_wh


def _decode_jpeg(path: Path) -> NDArray[Any]:
    from imagecodecs import jpeg8_decode

    header = jpeg.read_header(path)
    pixels = np.asarray(jpeg8_decode(path.read_bytes()))
    unused = 16 - header.precision if header and pixels.dtype == np.uint16 else 0
    return (pixels.astype(np.uint32) * 65535 // (65535 >> unused)).astype(pixels.dtype) if unused else pixels


def _jxl_size(path: Path) -> Size:
    """From the size header at the start of the codestream (ISO/IEC 18181-1, C.2)."""
    with path.open("rb") as file:
        data = file.read(65_536)
    start = 0 if data[:2] == b"\xff\x0a" else data.find(b"\xff\x0a", data.find(b"jxl", 16))
    bits, at = int.from_bytes(data[start + 2 : start + 18], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        value = bits >> at & (1 << count) - 1
        at += count
        return value

    def side(small: bool) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = bool(take(1))
    height = side(small)
    ratio = take(3)
    shapes = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    width = height * shapes[ratio - 1][0] // shapes[ratio - 1][1] if ratio else side(small)
    return width, height


def _decode_jxl(path: Path) -> NDArray[Any]:
    from imagecodecs import jpegxl_decode

    pixels = np.asarray(jpegxl_decode(path.read_bytes()))
    if pixels.dtype == np.float32:
        pixels = (pixels.clip(0, 1) * 65535).round().astype(np.uint16)
    return pixels


Is = Callable[[bytes], bool]

_TABLE: tuple[tuple[str, str, Is, Callable[[Path], Size], Decode], ...] = (
    (
        "BMP",
        "Pillow",
        lambda b: b[:2] == b"BM" and b[14:15] in b"\x0c\x28\x34\x38\x40\x6c\x7c",
        _pillow_size,
        _decode_pillow,
    ),
    (
        "JPEG 2000",
        "Pillow",
        lambda b: b[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or b[:4] == b"\xff\x4f\xff\x51",
        _pillow_size,
        _decode_pillow,
    ),
    ("JPEG XL", "imagecodecs", lambda b: b[:2] == b"\xff\x0a" or b[4:8] == b"JXL ", _jxl_size, _decode_jxl),
    ("HEIC", "pillow-heif", lambda b: b[4:8] == b"ftyp" and b[8:12] in HEVC_BRANDS, _heif_size, _decode_heif),
    ("PSD", "Pillow", lambda b: b[:6] == b"8BPS\0\x01", _pillow_size, _decode_pillow),
)

_DEVELOP = "develop it to TIFF or JPEG first, with darktable, RawTherapee or the camera maker's program"

_REFUSED: tuple[tuple[str, Is, str], ...] = (
    ("PSB (a large Photoshop file)", lambda b: b[:6] == b"8BPS\0\x02", "save it as tiled TIFF or BigTIFF"),
    ("OpenEXR", lambda b: b[:4] == b"\x76\x2f\x31\x01", "convert it to TIFF (oiiotool in.exr -o out.tif)"),
    ("a camera raw file", lambda b: b[4:12] == b"ftypcrx " or b[8:10] == b"CR" or b.startswith(RAW_STARTS), _DEVELOP),
)
