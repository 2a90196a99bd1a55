"""libvips behind a few functions: the only file of the package's image readers that imports pyvips.

Importing this file costs nothing; the first call loads libvips. No decision rests on what libvips says of an error: its
text is one buffer for the whole process, which other threads fill and clear. It is shown, never parsed.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from . import jpeg

VipsImage = Any  # pyvips has no types

NOT_IMAGES = ("Csv", "Matrix", "Raw", "Vips")
"""Formats that libvips opens although they hold no photographs: a text that begins with two numbers is a "matrix"."""

MAPPED = ("Jpeg", "Webp", "gif")
"""Formats whose files libvips maps into memory unless they come through a pipe. It trusts all of these loaders.

Mapped bytes count as resident memory, all of them in the end, and a file that is cut short while it is mapped kills the
process (SIGBUS). Bytes from a pipe do neither.
"""

BLOCK_BYTES = 2**20  # of a pipe

_FORMATS = {"uint8": "uchar", "int8": "char", "uint16": "ushort", "int16": "short", "uint32": "uint", "int32": "int"}
_FORMATS |= {"float32": "float", "float64": "double"}  # names of NumPy: names of libvips
_DTYPES = {name: dtype for dtype, name in _FORMATS.items()}
_UNTRUSTED = 16  # libvips' flag of loaders that are not hardened against hostile files

_setting_up = Lock()
_trusting = Lock()  # held while untrusted loaders are let through, which holds for the whole process


class VipsError(Exception):
    """What libvips says: `reason` in one line."""

    def __init__(self, details: str) -> None:
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
    os.environ["VIPS_WARNING"] = "1"  # switches warnings off if libvips is loaded from here on
    import pyvips

    pyvips._remove_log_handler()
    pyvips.cache_set_max(0)  # the cache of operations would hold whole images, and stale ones by file name
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


def from_array(array: NDArray[Any], interpretation: str | None = None, profile: bytes | None = None) -> VipsImage:
    """An image over the memory of `array` (rows, cols, bands). By default grey or sRGB. Raises VipsError."""
    array = array.astype(np.float32) if array.dtype == np.float16 else np.ascontiguousarray(array)
    rows, cols, bands = array.shape
    image = library().Image.new_from_memory(array, cols, rows, bands, _format(array.dtype))
    image = image.copy(interpretation=interpretation or ("srgb" if bands == 3 else "b-w"))
    if profile is not None:
        image.set_type(library().GValue.blob_type, "icc-profile-data", profile)
    return image


def to_array(image: VipsImage) -> NDArray[Any]:
    """Compute the pixels of an image, (rows, cols, bands). Raises VipsError."""
    with errors():
        pixels = image.write_to_memory()
    return np.frombuffer(pixels, _DTYPES[image.format]).reshape(image.height, image.width, image.bands)


def write_rows(image: VipsImage, take: Callable[[memoryview], None]) -> None:
    """Compute an image from top to bottom and give its bytes to `take`, in order. Raises VipsError, and what that does.

    Unlike reading one crop after another, this never asks the decoder for rows out of order.
    """
    failures: list[BaseException] = []

    def write(data: Any) -> int:
        try:
            take(memoryview(data))
        except BaseException as error:  # raised below: libvips knows no Python exceptions
            failures.append(error)
            return -1
        return len(data)

    target = library().TargetCustom()
    target.on_write(write)
    try:
        with errors():
            image.rawsave_target(target)
    except VipsError:
        if failures:
            raise failures.pop() from None
        raise


def row_reader(image: VipsImage) -> Callable[[int, int], NDArray[Any]]:
    """Reads rows, from the first on as many as the second says; only downwards, and from one thread.

    Raises VipsError. Decodes in that thread alone, so that a decoder which only goes down is asked in order.
    """
    region = library().Region.new(image)

    def read(top: int, count: int) -> NDArray[Any]:
        with errors():
            pixels = region.fetch(0, top, image.width, count)
        return np.frombuffer(pixels, _DTYPES[image.format]).reshape(count, image.width, image.bands)

    return read


def header_only(
    size_wh: Size, bands: int, dtype: np.dtype[Any], interpretation: str, fields: Mapping[str, int | bytes]
) -> VipsImage:
    """The header of a file that libvips cannot open, with black pixels. fields: its metadata. Raises VipsError."""
    black = library().Image.black(*size_wh, bands=bands).cast(_format(np.dtype(dtype)))
    image = black.copy(interpretation=interpretation)
    for name, value in fields.items():
        kind = library().GValue.gint_type if isinstance(value, int) else library().GValue.blob_type
        image.set_type(kind, name, value)
    return image


def _format(dtype: np.dtype[Any]) -> str:
    name = "float32" if dtype == np.float16 else dtype.name
    if name not in _FORMATS:
        raise VipsError(f"numbers of the type {name}")
    return _FORMATS[name]


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
    if format_of(loader) in NOT_IMAGES:
        return None
    # A JPEG with a gain map is a JPEG: its plain image is what a viewer without HDR shows, and it streams.
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
    descriptor = _open_pipe(path, header.clean, header.scan_at) if header and header.clean else _open_pipe(path)
    try:
        with errors():
            source = library().Source.new_from_descriptor(descriptor)
            return library().Operation.call(loader.replace("File", "Source"), source, **options)
    finally:
        os.close(descriptor)


def _open_pipe(path: Path, start: bytes = b"", resume_at: int = 0) -> int:
    """A descriptor, to be closed by the caller, to which a thread feeds the file's bytes. Raises OSError.

    start: replaces the file's first `resume_at` bytes.
    """
    file = path.open("rb", buffering=0)
    file.seek(resume_at)
    reader, writer = os.pipe()
    with suppress(OSError, AttributeError, ImportError):  # Linux only, and only for speed
        import fcntl

        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
    # A daemon, because it sleeps until somebody reads on, or nobody has the other end open any more.
    Thread(target=_feed, args=(file, writer, start), name="gigacount-pipe", daemon=True).start()
    return reader


def _feed(file: BinaryIO, writer: int, start: bytes) -> None:
    try:
        # A read that fails ends the stream early, which the decoder reports as a file cut short.
        with file, suppress(OSError):
            while block := start or file.read(BLOCK_BYTES):
                rest, start = memoryview(block), b""
                while rest:
                    rest = rest[os.write(writer, rest) :]
    finally:
        os.close(writer)


def load_drawing(svg: bytes) -> VipsImage:
    """Open an SVG drawing of our own, RGB with opacity. Raises VipsError.

    libvips does not trust its SVG loader, so it is blocked for files; here it is let through for this call alone.
    """
    with _trust(), errors():
        return library().Image.svgload_buffer(svg)


def field(image: VipsImage, name: str, default: Any = None) -> Any:
    """A metadata field, or `default` when the image has none of that name."""
    return image.get(name) if image.get_typeof(name) else default


def tile_size(image: VipsImage) -> tuple[int, int] | None:
    """Width and height of the tiles in which the file holds this image; None when it has none."""
    for prefix in ("", "openslide.level[0]."):
        width, height = field(image, f"{prefix}tile-width"), field(image, f"{prefix}tile-height")
        if width is not None and height is not None:
            return int(width), int(height)
    return None


def to_srgb(image: VipsImage) -> VipsImage:
    """Convert by the embedded ICC profile to 8-bit sRGB. Raises VipsError when the profile does not fit the image."""
    with errors():
        return image.icc_transform("srgb", embedded=True, depth=8)
