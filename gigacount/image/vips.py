"""libvips behind a few functions: the only file that imports pyvips, and the seam where its untyped objects come in.

Importing this file costs nothing; libvips is loaded by the first call. No decision rests on what libvips says of an
error: its text is one buffer for the whole process, which other threads fill and clear. It is shown, never parsed.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from . import jpeg
from .pipe import open_pipe

VipsImage = Any  # pyvips has no types

NOT_PICTURES = ("Csv", "Matrix", "Raw", "Vips")
"""Formats that libvips opens and nobody photographs in; a text file beginning with two numbers is a "matrix" to it."""

MAPPED = ("Jpeg", "Webp", "gif")
"""Formats whose files libvips maps into memory, unless they come through a pipe. All are loaders that it trusts."""

_FORMATS = {"uint8": "uchar", "int8": "char", "uint16": "ushort", "int16": "short", "uint32": "uint", "int32": "int"}
_FORMATS |= {"float16": "float", "float32": "float", "float64": "double"}
"""NumPy's names of numbers, and libvips'."""

_setting_up = Lock()

_trusting = Lock()
"""Held while loaders that libvips does not trust are let through, which holds for the whole process."""

_UNTRUSTED = 16
"""libvips' flag of loaders that are not hardened against hostile files."""


class VipsError(Exception):
    """What libvips says: `reason` in one line, `details` in full."""

    def __init__(self, details: str) -> None:
        self.details = details
        lines = [line.strip() for line in details.splitlines() if line.strip()]
        telling = [line for line in lines if not line.endswith("load error") and not line.startswith("unable to ")]
        last = (telling or lines or ["libvips gives no reason"])[-1]
        self.reason = re.sub(r"^[\w-]+: ", "", last)[:200]
        super().__init__(self.reason)


def library() -> Any:
    """The module pyvips, set up once before anybody uses it, whichever thread comes first."""
    with _setting_up:
        return _set_up()


@cache
def _set_up() -> Any:
    # libvips warns from its own threads. pyvips would log that in Python, where a garbage collection may set in and
    # free an image; libvips warns of that, too, and GLib ends the process, as a warning came within a warning.
    os.environ["VIPS_WARNING"] = "1"  # libvips says no warnings, if it is loaded from here on
    import pyvips

    pyvips._remove_log_handler()
    # Results are kept by whoever needs them: the cache of operations would hold pictures, and stale ones, by file name.
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    return pyvips


@contextmanager
def errors() -> Iterator[None]:
    """Turn libvips' exceptions into VipsError."""
    try:
        yield
    except library().Error as error:
        raise VipsError(str(error)) from error


def release_memory() -> None:
    """Hand freed memory back to the system.

    The decoders' buffers are of sizes that glibc keeps for later, in pieces, one heap per thread: without this, a dozen
    looks at a tiled file of 0.4 gigapixels left 760 MB resident, with it 180. (A smaller mmap threshold would do, too,
    but costs a third more time and would hold for the whole process.)
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it


def from_pixels(array: NDArray[np.generic], interpretation: str, profile: bytes | None) -> VipsImage:
    """An image of numbers of any kind, (rows, cols, bands), that mean what `interpretation` says. Raises VipsError."""
    array = array.astype(np.float32) if array.dtype == np.float16 else np.ascontiguousarray(array)
    with errors():
        image = library().Image.new_from_array(array).copy(interpretation=interpretation)
    return image if profile is None else with_profile(image, profile)


def stand_in(
    size_wh: Size, bands: int, dtype: np.dtype[Any], interpretation: str, fields: Mapping[str, int | bytes]
) -> VipsImage:
    """An opened picture that libvips cannot open: header only, its pixels are black. fields: its metadata."""
    form = _FORMATS.get(np.dtype(dtype).name)
    if form is None:
        raise VipsError(f"numbers of the kind {np.dtype(dtype).name} are no picture")
    black = library().Image.black(*size_wh, bands=bands).cast(form)
    image = black.copy(interpretation=interpretation)
    for name, value in fields.items():
        kind = library().GValue.gint_type if isinstance(value, int) else library().GValue.blob_type
        image.set_type(kind, name, value)
    return image


def version() -> str:
    """The version of libvips, like "8.18.7"."""
    return ".".join(str(library().version(part)) for part in range(3))


@contextmanager
def _trust() -> Iterator[None]:
    """Let loaders through that libvips does not trust."""
    pyvips = library()
    with _trusting:
        pyvips.block_untrusted_set(False)
        try:
            yield
        finally:
            pyvips.block_untrusted_set(True)


def find_loader(path: Path, trusted: bool) -> str | None:
    """The name of the libvips class that loads this file, judged by its first bytes; None when there is none."""
    pyvips = library()
    with _trust() if trusted else _trusting:
        # The empty options keep brackets in a file name from being taken for options.
        found = pyvips.vips_lib.vips_foreign_find_load(os.fsencode(path) + b"[]")
        pyvips.vips_lib.vips_error_clear()
    if found == pyvips.ffi.NULL:
        return None
    loader: str = pyvips.ffi.string(found).decode()
    if format_of(loader) in NOT_PICTURES:
        return None
    # A JPEG with a gain map is a JPEG: its plain picture is what a viewer without HDR shows, and it streams.
    return loader.replace("Uhdr", "Jpeg")


def format_of(loader: str) -> str:
    """ "Jpeg" of "VipsForeignLoadJpegFile"."""
    return re.sub(r"^VipsForeignLoad(Ns)?|File$", "", loader)


def load(path: Path, loader: str, trusted: bool, **options: Any) -> VipsImage:
    """Open a file; only its header is read. Raises VipsError."""
    pyvips = library()
    untrusted = trusted and pyvips.Introspect.get(loader).flags & _UNTRUSTED
    # Others wait for a slow file only where it needs trust.
    with _trust() if untrusted else nullcontext(), errors():
        return pyvips.Operation.call(loader, os.fsencode(path), **options)


def load_stream(path: Path, loader: str, trusted: bool, **options: Any) -> VipsImage:
    """Open a file to be read once, from top to bottom. Raises VipsError, OSError."""
    options["access"] = "sequential"
    if format_of(loader) not in MAPPED:
        return load(path, loader, trusted, **options)
    header = jpeg.read_header(path) if format_of(loader) == "Jpeg" else None
    descriptor = open_pipe(path, header.clean, header.scan_at) if header and header.clean else open_pipe(path)
    try:
        with errors():
            source = library().Source.new_from_descriptor(descriptor)
            return library().Operation.call(loader.replace("File", "Source"), source, **options)
    finally:
        os.close(descriptor)


def load_drawing(svg: bytes) -> VipsImage:
    """Open a drawing of our own, RGB with opacity. Raises VipsError.

    SVG is a loader that libvips does not trust, so it is blocked for files; here it is let through for this call alone.
    """
    pyvips = library()
    with _trust(), errors():
        return pyvips.Image.svgload_buffer(svg)


def field(image: VipsImage, name: str, default: Any = None) -> Any:
    """A metadata field, or `default` when the picture has none of that name."""
    return image.get(name) if image.get_typeof(name) else default


def tile_size(image: VipsImage) -> tuple[int, int] | None:
    """Width and height of the tiles in which the file holds this picture; None when it has none."""
    for prefix in ("", "openslide.level[0]."):
        width, height = field(image, f"{prefix}tile-width"), field(image, f"{prefix}tile-height")
        if width is not None and height is not None:
            return int(width), int(height)
    return None


def to_array(image: VipsImage) -> NDArray[np.uint8]:
    """Compute the pixels of an 8-bit image, (rows, cols, bands). Raises VipsError."""
    with errors():
        pixels = image.write_to_memory()
    return np.frombuffer(pixels, np.uint8).reshape(image.height, image.width, image.bands)


def to_numbers(image: VipsImage) -> NDArray[Any]:
    """Compute the pixels of an image of any type, (rows, cols, bands). Raises VipsError."""
    with errors():
        return np.atleast_3d(image.numpy())


def write_raw(image: VipsImage, descriptor: int) -> None:
    """Compute all pixels of an image into a file, row by row. Raises VipsError."""
    with errors():
        image.rawsave_target(library().Target.new_to_descriptor(descriptor))


def stop(image: VipsImage) -> None:
    """Make whatever computes this image fail soon; from any thread."""
    image.set_kill(True)


def from_array(array: NDArray[np.uint8]) -> VipsImage:
    """An image of one (grey) or three (RGB) bands over the memory of `array` (rows, cols, bands)."""
    rows, cols, bands = array.shape
    image = library().Image.new_from_memory(np.ascontiguousarray(array), cols, rows, bands, "uchar")
    return image.copy(interpretation="srgb" if bands == 3 else "b-w")


def shrink_rows(image: VipsImage, step: int) -> VipsImage:
    """Means of `step` pixels along the rows; at the right of what is left of them."""
    return image.shrinkh(step, ceil=True)


def reduce(image: VipsImage, ratio_xy: tuple[float, float]) -> VipsImage:
    """Shrink by ratios >= 1 with a Lanczos kernel as wide as they need; the centre of the image stays its centre."""
    ratio_x, ratio_y = ratio_xy
    if ratio_y > 1:
        image = image.reducev(ratio_y, kernel="lanczos3", gap=0)
    if ratio_x > 1:
        image = image.reduceh(ratio_x, kernel="lanczos3", gap=0)
    return image


def sample(
    image: VipsImage, step_xy: tuple[float, float], first_xy: tuple[float, float], size: tuple[int, int]
) -> VipsImage:
    """`size` (width, height) bicubic samples, `step_xy` pixels apart, from pixel coordinates `first_xy`."""
    (step_x, step_y), (first_x, first_y) = step_xy, first_xy
    return image.affine(
        [1 / step_x, 0, 0, 1 / step_y],
        odx=-first_x / step_x,
        ody=-first_y / step_y,
        oarea=[0, 0, *size],
        interpolate=library().Interpolate.new("bicubic"),
        extend="copy",
    )


def to_srgb(image: VipsImage) -> VipsImage:
    """Convert by the embedded ICC profile to 8-bit sRGB. Raises VipsError when the profile does not fit the picture."""
    with errors():
        return image.icc_transform("srgb", embedded=True, depth=8)


def with_profile(image: VipsImage, profile: bytes) -> VipsImage:
    """The same pixels with an embedded ICC profile."""
    copy = image.copy()
    copy.set_type(library().GValue.blob_type, "icc-profile-data", profile)
    return copy
