"""A picture file: checked, opened by its header, and described."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigacount.errors import ImageError
from gigacount.geometry import Size
from gigacount.options import ReadOptions

from . import vips
from .colour import Colour, store
from .info import ImageInfo
from .orientation import ORIENTATIONS, Orientation
from .vips import VipsError, VipsImage, field

MAX_SIDE = 10_000_000
"""Pixels in a row or column; beyond, a single row of the decoder's buffers would not fit in memory."""

MAX_TILE_PIXELS = 2**26
"""Pixels of a tile, which is decoded whole."""

MAX_PAGES = 32
"""Pages of a TIFF searched for smaller copies."""

STRIPPED_COPY_PIXELS = 2**24
"""Pixels up to which a smaller copy in the file is of use although it is not tiled."""

_NAMES = {
    "Jpeg": "JPEG",
    "Tiff": "TIFF",
    "Png": "PNG",
    "Webp": "WebP",
    "Heif": "HEIF",
    "gif": "GIF",
    "Jp2k": "JPEG 2000",
    "Jxl": "JPEG XL",
    "DcRaw": "camera raw",
    "Ppm": "PNM",
    "Fits": "FITS",
    "Svg": "SVG",
}
"""By libvips' names; others are shown as they are."""

_COLOURS = {
    "b-w": "grey",
    "grey16": "grey",
    "srgb": "RGB",
    "rgb16": "RGB",
    "scrgb": "RGB",
    "cmyk": "CMYK",
    "lab": "Lab",
}

_BITS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}


@dataclass(frozen=True)
class Copy:
    """One resolution in the file: how to ask libvips for it, its stored size, and full-resolution pixels per pixel."""

    options: tuple[tuple[str, int], ...]
    size_wh: Size
    factor_xy: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """A file that can be opened.

    size_wh: as stored. copies: resolutions that are readable by tiles, the full one first; none if it must be streamed.
    bands: of the pixels once they are stored (see colour), 1 or 3.
    """

    path: Path
    loader: str
    options: ReadOptions
    size_wh: Size
    colour: Colour
    copies: tuple[Copy, ...]
    bands: int
    info: ImageInfo

    @classmethod
    def open(cls, path: Path, options: ReadOptions) -> Picture:
        """Read a file's header. Raises ImageError."""
        _check_file(path)
        loader = vips.find_loader(path, options.trust_loaders)
        if loader is None:
            raise ImageError(
                f"{shown(path)}: not a picture that libvips {vips.version()} reads here; convert it to TIFF, PNG or"
                " JPEG, or, if you trust the file, allow all loaders (--trust-loaders)"
            )
        header = _header(path, loader, options)
        _check_size(path, (header.width, header.height), options.max_pixels)
        copies = _copies(path, loader, options, header) if _has_tiles(path, header) else []
        try:
            bands = store(header).bands
        except VipsError as error:
            raise ImageError(f"{shown(path)}: pixels of a kind that is no picture ({error.reason})") from error
        info = _describe(path, loader, header, copies)
        return cls(path, loader, options, (header.width, header.height), Colour.of(header), tuple(copies), bands, info)

    @property
    def name(self) -> str:
        """The path, for messages."""
        return shown(self.path)

    @property
    def orientation(self) -> Orientation:
        """How the stored picture is turned."""
        return ORIENTATIONS[self.info.orientation]

    def load(self, **options: Any) -> VipsImage:
        """Open the pixels. Raises VipsError."""
        return vips.load(self.path, self.loader, self.options.trust_loaders, **options)

    def load_stream(self, **options: Any) -> VipsImage:
        """Open the pixels to be read once, from top to bottom. Raises VipsError, ImageError."""
        try:
            return vips.load_stream(self.path, self.loader, self.options.trust_loaders, **options)
        except OSError as error:
            raise ImageError(f"{self.name}: cannot be read any more: {error.strerror}") from error

    def damaged(self, error: VipsError) -> ImageError:
        """What to tell the user when libvips cannot go on."""
        if vips.lacks_codec(error):
            return ImageError(
                f"{self.name}: compressed in a way that libvips {vips.version()} here cannot read ({error.reason});"
                " install more codecs (pip install 'gigacount[codecs]'), or save it with deflate or JPEG compression"
            )
        if not self.path.exists():
            return ImageError(f"{self.name}: vanished while it was read")
        return ImageError(
            f"{self.name}: damaged or cut short ({error.reason});"
            " get it anew, or read what is left of it (--allow-damaged)"
        )


def shown(path: Path) -> str:
    """A path as it can be printed in one line: newlines, and bytes that are no text, escaped."""
    return str(path) if str(path).isprintable() else repr(str(path))[1:-1]


def strictness(loader: str) -> str:
    """The `fail_on` that makes libvips refuse damage in this format, but not oddities that harm nothing.

    Its TIFF loader reports tiles that do not decode as warnings, and so does its JPEG loader corrupt data; PNG warns of
    colour profiles that are merely old.
    """
    return "warning" if vips.format_of(loader) in ("Tiff", "Jpeg") else "error"


def _check_file(path: Path) -> None:
    """Raise ImageError for what is not a regular, readable, non-empty file."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{shown(path)}: a folder, not a picture")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{shown(path)}: a device or pipe, not a file; save the picture to a file first")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise ImageError(f"{shown(path)}: no such file or directory") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{shown(path)}: cannot be read: {reason}") from error
    if status.st_size == 0:
        raise ImageError(f"{shown(path)}: the file is empty")


def _check_size(path: Path, size_wh: Size, max_pixels: int) -> None:
    width, height = size_wh
    if width * height > max_pixels:
        raise ImageError(
            f"{shown(path)}: declares {width} x {height} = {width * height / 1e9:.6g} gigapixels, more than the limit"
            f" of {max_pixels / 1e9:.6g}; raise it (--max-pixels) if the picture really is that large"
        )
    if max(size_wh) > MAX_SIDE:
        raise ImageError(
            f"{shown(path)}: declares {width} x {height} pixels; sides beyond {MAX_SIDE} pixels cannot be read"
        )


def _header(path: Path, loader: str, options: ReadOptions) -> VipsImage:
    """Open the file; leniently if that is allowed and needed."""
    attempts = [strictness(loader), "none"] if options.allow_damaged else [strictness(loader)]
    for fail_on in attempts:
        try:
            return vips.load(path, loader, options.trust_loaders, fail_on=fail_on)
        except VipsError as error:
            reason = error.reason
    raise ImageError(f"{shown(path)}: damaged, or not the picture that it claims to be ({reason}); get it anew")


def _has_tiles(path: Path, header: VipsImage) -> bool:
    tile_wh = vips.tile_size(header)
    if tile_wh is not None and tile_wh[0] * tile_wh[1] > MAX_TILE_PIXELS:
        raise ImageError(f"{shown(path)}: its tiles of {tile_wh[0]} x {tile_wh[1]} pixels are too large to decode")
    return tile_wh is not None


def _describe(path: Path, loader: str, header: VipsImage, copies: list[Copy]) -> ImageInfo:
    orientation = field(header, "orientation", 1)
    if orientation not in ORIENTATIONS:
        orientation = 1
    stored = [copy.size_wh for copy in copies] or [(header.width, header.height)]
    upright = [ORIENTATIONS[orientation].size(size_wh) for size_wh in stored]
    return ImageInfo(
        path=path,
        format=_format(loader, header),
        size_wh=upright[0],
        level_sizes=tuple(upright),
        tile_wh=vips.tile_size(header),
        colour=_COLOURS.get(header.interpretation, header.interpretation),
        bands=header.bands,
        bits=field(header, "bits-per-sample", _BITS.get(header.format, 0)),
        floating_point=header.format in ("float", "double"),
        orientation=orientation,
        icc=field(header, "icc-profile-data") is not None,
        progressive=bool(field(header, "interlaced") or field(header, "jpeg-multiscan")),
        file_bytes=path.stat().st_size,
    )


def _copies(path: Path, loader: str, options: ReadOptions, header: VipsImage) -> list[Copy]:
    """The resolutions of a tiled file that are the same picture, ever smaller."""
    full = header.width, header.height
    copies = [Copy((), full, (1, 1))]
    for choice in _choices(header):
        try:
            image = vips.load(path, loader, options.trust_loaders, fail_on=strictness(loader), **dict(choice))
        except VipsError:
            continue  # a page of a kind that libvips cannot read is no copy of one that it can
        size_wh = image.width, image.height
        alike = (image.bands, image.format, image.interpretation) == (
            header.bands,
            header.format,
            header.interpretation,
        )
        quick = vips.tile_size(image) is not None or size_wh[0] * size_wh[1] <= STRIPPED_COPY_PIXELS
        smaller = size_wh[0] < copies[-1].size_wh[0] and size_wh[1] <= copies[-1].size_wh[1]
        factor_xy = _factors(full, size_wh)
        if alike and quick and smaller and factor_xy is not None:
            copies.append(Copy(choice, size_wh, factor_xy))
    return copies


def _choices(header: VipsImage) -> list[tuple[tuple[str, int], ...]]:
    """Where a file may keep smaller copies: slide levels, sub-images of the first page (OME-TIFF), or further pages."""
    slide_levels = int(field(header, "openslide.level-count", 0))
    if slide_levels:
        return [(("level", level),) for level in range(1, slide_levels)]
    inner = min(field(header, "n-subifds", 0), MAX_PAGES)
    if inner:
        return [(("subifd", number),) for number in range(inner)]
    return [(("page", page),) for page in range(1, min(field(header, "n-pages", 1), MAX_PAGES))]


def _factors(full_wh: Size, size_wh: Size) -> tuple[float, float] | None:
    """How many times smaller a copy is in x and y; None when it has another shape, so is another picture.

    Whole numbers where the copy's sides are the rounded quotient by one: then its pixels are boxes of that many.
    """
    quotients = [full / side for full, side in zip(full_wh, size_wh, strict=True)]
    whole = round(max(quotients))
    if all(full // whole <= side <= -(-full // whole) for full, side in zip(full_wh, size_wh, strict=True)):
        return whole, whole
    # Rounding a copy's sides moves them by a pixel at most.
    x, y = quotients
    return (x, y) if abs(full_wh[0] / y - size_wh[0]) <= 1 + size_wh[0] / size_wh[1] else None


def _format(loader: str, header: VipsImage) -> str:
    vendor = field(header, "openslide.vendor")
    if vendor is not None:
        return f"slide ({vendor})"
    name = vips.format_of(loader)
    return _NAMES.get(name, name)
