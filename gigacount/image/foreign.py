"""Formats that libvips does not read, or reads less of: decoded in Python, or refused by name.

A file is recognised by its first bytes. Most libraries are optional (extras `codecs` and `raw`). Photoshop and OpenEXR
files are read row by row, others as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.text import brief

from . import jpeg, photoshop
from .formats import Form, NotReadError, Opened, ReadRows, jxl_form, open_exr
from .vips import VipsError, VipsImage, header_only

HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")


@dataclass(frozen=True)
class Foreign:
    """How a format is read. open: a file's header, and what begins to decode it. instead: of reading it here."""

    name: str
    package: str
    open: Callable[[Path], Opened]
    instead: str = "convert the image to TIFF, PNG or JPEG"
    extra: str = "codecs"


def recognise(path: Path, page: int | None) -> Foreign | None:
    """The reader of a format that libvips is not asked for; None where libvips is. page: from 1. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[:2] == b"\xff\xd8":
        header = jpeg.read_header(path)
        reason = header.refusal if header else None
        return Foreign(reason, "imagecodecs", _open_jpeg) if reason else None
    if start[4:8] == b"ftyp" and start[8:12] in HEVC_BRANDS:
        return Foreign("HEIC", "pillow-heif", partial(_open_heif, page))
    return next((reader for is_a, reader in _TABLE if is_a(start)), None)


def form_of(foreign: Foreign, path: Path, shown: str) -> Form:
    """What a file's header says. Raises ImageError."""
    form: Form = _guarded(foreign, lambda: foreign.open(path), shown)[0]
    return form


def header_of(form: Form) -> VipsImage:
    """A file of this form as libvips would open it, without pixels."""
    fields: dict[str, int | bytes] = {"n-pages": form.pages}
    fields |= {"icc-profile-data": form.profile} if form.profile else {}
    return header_only(form.size_wh, form.bands, np.dtype(form.dtype), form.interpretation, fields)


def open_rows(foreign: Foreign, path: Path, shown: str) -> ReadRows:
    """The rows of an image. Raises ImageError; reading them raises VipsError."""
    form, begin = _guarded(foreign, lambda: foreign.open(path), shown)
    rows = _guarded(foreign, begin, shown)

    def read(top: int, count: int) -> NDArray[Any]:
        try:
            numbers: NDArray[Any] = rows(top, count)
        except Exception as error:  # whatever a library raises for an odd file
            raise VipsError(brief(error)) from error
        wanted = count, form.size_wh[0], form.bands
        if numbers.shape != wanted or numbers.dtype != form.dtype:
            raise VipsError(f"pixels of the kind {numbers.dtype} {numbers.shape}, not {form.dtype} {wanted}")
        return numbers

    return read


def _guarded(foreign: Foreign, call: Callable[[], Any], shown: str) -> Any:
    """Call a foreign library, whose every exception becomes ours."""
    try:
        return call()
    except ImportError as error:
        raise ImageError(
            f"{shown}: {foreign.name} is not supported here; install {foreign.package} (pip install"
            f" 'gigacount[{foreign.extra}]'), or {foreign.instead}"
        ) from error
    except MemoryError:
        raise
    except NotReadError as error:
        raise ImageError(f"{shown}: {foreign.name} {error}") from error
    except Exception as error:
        reason = f"damaged, or of a kind of {foreign.name} that is not supported here ({brief(error)})"
        raise ImageError(f"{shown}: {reason}; copy or download it again, or {foreign.instead}") from error


def _whole(decode: Callable[[], Any]) -> Callable[[], ReadRows]:
    """The rows of what is decoded as a whole: of 8 or 16 bits, RGB and opacity if there is any; grey as RGB."""

    def begin() -> ReadRows:
        pixels = np.asarray(decode())
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels

        def read(top: int, count: int) -> NDArray[Any]:
            part = pixels[top : top + count]
            grey = part.shape[2] < 3
            return np.concatenate([np.repeat(part[:, :, :1], 3, axis=2), part[:, :, 1:]], axis=2) if grey else part

        return read

    return begin


def _pillow(path: Path) -> Any:
    import warnings

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # sizes are checked by us
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(path)


def _open_pillow(path: Path) -> Opened:
    with _pillow(path) as image:
        size, profile = image.size, image.info.get("icc_profile") or b""
        deep, alpha = image.mode.startswith("I;16"), "A" in image.mode or "transparency" in image.info
        mode = "RGBA" if alpha else "L" if image.mode in ("L", "1") else "RGB"

    def decode() -> NDArray[Any]:
        with _pillow(path) as image:
            return np.asarray(image, np.uint16) if deep else np.asarray(image.convert(mode))

    if deep:
        return Form(size, 3, "uint16", "rgb16", profile), _whole(decode)
    return Form(size, 4 if alpha else 3, profile=profile), _whole(decode)


def _open_heif(page: int | None, path: Path) -> Opened:
    """The image that is asked for, else the one that the file says is to be shown."""
    import pillow_heif

    file: Any = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
    image = file[file.primary_index if page is None else min(page, len(file)) - 1]
    profile = image.info.get("icc_profile") or b""
    form = Form(image.size, 4 if image.has_alpha else 3, profile=profile, pages=len(file))
    return form, _whole(lambda: np.asarray(image))


def _open_jpeg(path: Path) -> Opened:
    header = jpeg.read_header(path)
    if header is None:
        raise ValueError("no header")
    deep, unused = header.precision > 8, 16 - header.precision

    def decode() -> NDArray[Any]:
        from imagecodecs import jpeg8_decode

        pixels = np.asarray(jpeg8_decode(path.read_bytes()))
        if unused and pixels.dtype == np.uint16:
            for rows in np.array_split(pixels, max(1, len(pixels) // 256)):  # in place, some rows at a time
                rows[:] = rows.astype(np.uint32) * 65535 // (65535 >> unused)
        return pixels

    return Form(header.size_wh, 3, *(("uint16", "rgb16") if deep else ("uint8", "srgb"))), _whole(decode)


def _open_jxl(path: Path) -> Opened:
    def decode() -> NDArray[Any]:
        from imagecodecs import jpegxl_decode

        pixels = np.asarray(jpegxl_decode(path.read_bytes(), index=0))
        return (pixels.clip(0, 1) * 65535).round().astype(np.uint16) if pixels.dtype == np.float32 else pixels

    return jxl_form(path), _whole(decode)


def _open_raw(path: Path) -> Opened:
    """Developed with the white balance that the camera found, the brightness that the image wants, as sRGB."""
    import rawpy

    def decode() -> NDArray[Any]:
        with rawpy.imread(str(path)) as raw:
            return np.asarray(raw.postprocess(use_camera_wb=True, gamma=(2.4, 12.92)))

    with rawpy.imread(str(path)) as raw:
        size, turned = (raw.sizes.iwidth, raw.sizes.iheight), raw.sizes.flip in (5, 6)
    return Form(size[::-1] if turned else size), _whole(decode)


CAMERA_RAW = Foreign(
    "camera raw",
    "rawpy",
    _open_raw,
    "develop it to TIFF or JPEG, with darktable, RawTherapee or the camera maker's program",
    "raw",
)
BMP, JPEG_2000 = (Foreign(name, "Pillow", _open_pillow) for name in ("BMP", "JPEG 2000"))
JPEG_XL = Foreign("JPEG XL", "imagecodecs", _open_jxl)
PHOTOSHOP = Foreign("Photoshop", "tifffile", photoshop.open_image)
OPENEXR = Foreign("OpenEXR", "OpenEXR", open_exr)

_TABLE: tuple[tuple[Callable[[bytes], bool], Foreign], ...] = (
    (lambda b: b[:2] == b"BM" and b[14:15] in b"\x0c\x28\x34\x38\x40\x6c\x7c", BMP),
    (lambda b: b[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or b[:4] == b"\xff\x4f\xff\x51", JPEG_2000),
    (lambda b: b[:2] == b"\xff\x0a" or b[4:8] == b"JXL ", JPEG_XL),
    (lambda b: b[:5] == b"8BPS\0" and b[5:6] in b"\1\2", PHOTOSHOP),
    (lambda b: b[:4] == b"\x76\x2f\x31\x01", OPENEXR),
    (lambda b: b[4:12] == b"ftypcrx " or b[8:10] == b"CR" or b.startswith(RAW_STARTS), CAMERA_RAW),
)
