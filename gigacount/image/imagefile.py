"""An image file: checked, opened by its header, and described."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size
from gigacount.options import ReadOptions
from gigacount.text import plural

from . import codecs, foreign, room, vips
from .colour import Colour, store
from .foreign import Foreign
from .formats import ReadRows
from .ground import masks_beside
from .info import ORIENTATIONS, ImageInfo, Orientation, with_samples
from .pages import Copy, TiffPlan, is_camera_raw, mask_of, plan_tiff, shrinking
from .samples import Samples
from .sidecar import BandMetadata
from .tags import Directory
from .vips import VipsError, VipsImage, field

MAX_SIDE = 10_000_000  # pixels in a row or column; beyond, one row of the decoder's buffers would not fit in memory
MAX_TILE_PIXELS = 2**26  # of a tile, which is decoded whole

# By libvips' names; others are shown as they are.
_NAMES = {"Jpeg": "JPEG", "Tiff": "TIFF", "Png": "PNG", "Webp": "WebP", "Heif": "HEIF", "gif": "GIF", "Svg": "SVG"}
_NAMES |= {"Jp2k": "JPEG 2000", "Jxl": "JPEG XL", "DcRaw": "camera raw", "Ppm": "PNM", "Fits": "FITS"}
_COLOURS = {"b-w": "grey", "grey16": "grey", "srgb": "RGB", "rgb16": "RGB", "scrgb": "RGB", "cmyk": "CMYK"}
_COLOURS |= {"lab": "Lab"}
_BITS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}


TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Opener:
    """How a file is opened.

    loader: of libvips, or the reader of a format that libvips is not asked for. plan: of a TIFF, which of its images.
    """

    path: Path
    loader: str | Foreign
    options: ReadOptions
    plan: TiffPlan | None

    @classmethod
    def of(cls, path: Path, options: ReadOptions) -> tuple[Opener, VipsImage]:
        """Decide by a file's first bytes and tags; returns its header, too. Raises ImageError."""
        _check_file(path)
        name, plan = shown(path), None
        loader = foreign.recognise(path, options.page) or vips.find_loader(path, options.trust_loaders)
        if loader is None:
            with path.open("rb") as file:
                if file.read(4) in TIFF_STARTS:
                    raise ImageError(f"{name}: damaged or cut short (its tags are missing); copy or download it again")
            version = ".".join(str(vips.library().version(part)) for part in range(3))
            raise ImageError(
                f"{name}: not an image that libvips {version} reads here; convert it to TIFF, PNG or"
                " JPEG, or, if you trust the file, allow all loaders (--trust-loaders)"
            )
        if isinstance(loader, str) and vips.format_of(loader) == "Tiff":
            if is_camera_raw(path):
                loader = foreign.CAMERA_RAW
            else:
                plan = plan_tiff(path, name, options.page)
        return cls(path, loader, options, plan)._with_header()

    @property
    def name(self) -> str:
        """The path, for messages."""
        return shown(self.path)

    @property
    def by_tifffile(self) -> bool:
        """Whether tifffile decodes it, not libvips."""
        return self.plan is not None and self.plan.by_tifffile is not None

    @property
    def strictness(self) -> str:
        """The `fail_on` that makes libvips refuse damage in this format, but not oddities that harm nothing.

        libvips' TIFF loader reports tiles that do not decode as warnings, and so does its JPEG loader corrupt data; PNG
        warns of colour profiles that are merely old.
        """
        return "warning" if self._loader_name in ("Tiff", "Jpeg") else "error"

    def load(self, copy: Copy | None = None, **options: Any) -> VipsImage:
        """Open the header, and the pixels where libvips decodes them; of a copy, if one is given.

        Raises VipsError, ImageError.
        """
        if isinstance(self.loader, Foreign):
            return foreign.header_of(foreign.form_of(self.loader, self.path, self.name))
        if self.plan is not None and self.by_tifffile:
            return codecs.header_of(self.plan, self.name)
        return self._load(**(dict(copy.options) if copy else self._page), **options)

    def load_stream(self, **options: Any) -> VipsImage:
        """Open the pixels to be read once, from top to bottom, by libvips. Raises VipsError, ImageError."""
        assert isinstance(self.loader, str)
        try:
            return vips.load_stream(self.path, self.loader, self.options.trust_loaders, **self._page, **options)
        except OSError as error:
            raise ImageError(f"{self.name}: cannot be read any more: {error.strerror}") from error

    def open_rows(self) -> ReadRows:
        """The rows of a format that Python decodes. Raises ImageError; reading them raises VipsError."""
        assert isinstance(self.loader, Foreign)
        return foreign.open_rows(self.loader, self.path, self.name)

    def damaged(self, error: VipsError) -> ImageError:
        """What to tell the user when the pixels cannot be decoded. `error` is shown; it decides nothing."""
        if not self.path.exists():
            return ImageError(f"{self.name}: was removed while it was read")
        if room.is_short():
            return ImageError(f"{self.name}: too little memory to decode it; close other programs, or raise the limit")
        advice = "" if self.options.allow_damaged else ", or read what is left of it (--allow-damaged)"
        return ImageError(f"{self.name}: damaged or cut short ({error.reason}); copy or download it again{advice}")

    @property
    def _loader_name(self) -> str:
        return vips.format_of(self.loader) if isinstance(self.loader, str) else self.loader.name

    @property
    def _page(self) -> dict[str, int]:
        """How to ask libvips for the image that is wanted."""
        if self.plan is not None:
            return dict(self.plan.copies[0].options)
        # Loaders of formats that have one image know no pages.
        return {"page": self.options.page - 1} if self.options.page and self.options.page > 1 else {}

    def _load(self, **options: Any) -> VipsImage:
        assert isinstance(self.loader, str)
        return vips.load(self.path, self.loader, self.options.trust_loaders, **options)

    def _with_header(self) -> tuple[Opener, VipsImage]:
        """Open the file, leniently if that is allowed and needed; decide at last who decodes a TIFF."""
        options, plan = self.options, self.plan
        if isinstance(self.loader, Foreign):
            form = foreign.form_of(self.loader, self.path, self.name)
            self._check_size(form.size_wh)
            header = foreign.header_of(form)
            self._check_page(header)
            return self, header
        if plan is not None:
            self._check_size(plan.main.size_wh)
            if plan.needs_trial and self._decodes():
                plan = replace(plan, by_tifffile=None)
            if plan.by_tifffile:
                return self, codecs.header_of(plan, self.name)
        opener, reason = replace(self, plan=plan), ""
        for fail_on in [self.strictness, "none"] if options.allow_damaged else [self.strictness]:
            try:
                header = self._load(fail_on=fail_on)
                if plan is None:
                    self._check_page(header)
                return opener, self._load(fail_on=fail_on, **self._page) if self._page else header
            except VipsError as error:
                reason = error.reason
        if plan is not None:  # tags that libtiff does not like, and others do
            plan = replace(plan, by_tifffile="unusual tags")
            return replace(self, plan=plan), codecs.header_of(plan, self.name)
        what = "damaged, or not of the format that its header names"
        raise ImageError(f"{self.name}: {what} ({reason}); copy or download it again")

    def _decodes(self) -> bool:
        """Whether this libvips has the codec of an image: tried on its first pixel."""
        try:
            vips.to_array(self._load(fail_on="warning", **self._page).crop(0, 0, 1, 1).cast("uchar"))
        except VipsError:
            return False
        return True

    def _check_page(self, header: VipsImage) -> None:
        pages, page = int(field(header, "n-pages", 1)), self.options.page
        if page is not None and page > pages:
            raise ImageError(f"{self.name}: has {plural(pages, 'page')}, no page {page}; choose another (--page)")

    def _check_size(self, size_wh: Size) -> None:
        (width, height), most = size_wh, self.options.max_pixels
        if width * height > most:
            raise ImageError(
                f"{self.name}: declares {width} x {height} = {width * height / 1e9:.6g} gigapixels, more than the limit"
                f" of {most / 1e9:.6g}; raise it (--max-pixels) if the image really is that large"
            )
        if max(size_wh) > MAX_SIDE:
            raise ImageError(
                f"{self.name}: declares {width} x {height} pixels; sides beyond {MAX_SIDE} pixels cannot be read"
            )

    def _copies(self, header: VipsImage) -> list[Copy]:
        """The resolutions of a tiled file that are the same image by what the file says, ever smaller."""
        full, tile_wh, plan = (header.width, header.height), vips.tile_size(header), self.plan
        if isinstance(self.loader, Foreign) or tile_wh is None or (plan is not None and not plan.main.tiled):
            return []
        if tile_wh[0] * tile_wh[1] > MAX_TILE_PIXELS:
            raise ImageError(f"{self.name}: its tiles of {tile_wh[0]} x {tile_wh[1]} pixels are too large to decode")
        if plan is not None:
            return list(plan.copies)
        copies = [Copy((), full, (1, 1))]
        for level in range(1, int(field(header, "openslide.level-count", 0))):
            try:
                image = self._load(level=level)
            except VipsError:
                continue  # a level that libvips cannot read is no copy of one that it can
            factor_xy = shrinking(full, (image.width, image.height))
            if factor_xy is not None:
                copies.append(Copy((("level", level),), (image.width, image.height), factor_xy))
        return copies

    def _describe(self, header: VipsImage, copies: list[Copy]) -> ImageInfo:
        orientation = field(header, "orientation", 1)
        if orientation not in ORIENTATIONS:
            orientation = 1
        stored = [copy.size_wh for copy in copies] or [(header.width, header.height)]
        upright = [ORIENTATIONS[orientation].size(size_wh) for size_wh in stored]
        notes, frames = self.plan.notes if self.plan is not None else (), int(field(header, "n-pages", 1))
        if self.plan is None and frames > 1 and self.options.page is None:
            notes = (f"the file has {frames} pages or frames; the first is read, choose another with --page",)
        vendor = field(header, "openslide.vendor") if isinstance(self.loader, str) else None
        return ImageInfo(
            path=self.path,
            format=f"slide ({vendor})" if vendor is not None else _NAMES.get(self._loader_name, self._loader_name),
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
            file_bytes=self.path.stat().st_size,
            notes=notes,
        )


@dataclass(frozen=True)
class ImageFile(Opener):
    """A file whose header is known.

    size_wh: as stored. copies: resolutions that are readable by tiles, the full one first; none if it must be streamed.
    mask: of the full resolution; those of the copies are theirs. samples: what the numbers of the file mean.
    bands: of the pixels once they are stored (see colour), 1 or 3, and one more where not all may be ground.
    """

    size_wh: Size
    samples: Samples
    colour: Colour
    copies: tuple[Copy, ...]
    bands: int
    info: ImageInfo
    mask: Directory | None = None

    @classmethod
    def open(cls, path: Path, options: ReadOptions) -> ImageFile:
        """Read a file's header. Raises ImageError."""
        opener, header = Opener.of(path, options)
        name, plan, size_wh = opener.name, opener.plan, (header.width, header.height)
        opener._check_size(size_wh)
        masks, said = (plan.masks, None) if plan and mask_of(plan.masks, size_wh) else masks_beside(path, size_wh)
        mask = mask_of(masks, size_wh)
        copies = opener._copies(header)
        if mask:  # no copy without its mask
            copies = [replace(copy, mask=mask_of(masks, copy.size_wh)) for copy in copies]
            copies = [copy for copy in copies if copy.mask]
        stated = BandMetadata.of(path, plan.main if plan else None)
        samples = Samples.of(name, opener._loader_name, header, stated, options)
        try:
            bands = store(header, samples).bands
        except VipsError as error:
            raise ImageError(f"{name}: its pixels cannot be shown as an image ({error.reason})") from error
        bands += bands % 2 if mask else 0
        info = with_samples(opener._describe(header, copies), samples, mask is not None)
        info = replace(info, notes=(*info.notes, said)) if said else info
        colour = Colour.of(header, samples)
        return cls(path, opener.loader, options, plan, size_wh, samples, colour, tuple(copies), bands, info, mask)

    @property
    def orientation(self) -> Orientation:
        """How the stored image is turned."""
        return ORIENTATIONS[self.info.orientation]

    @property
    def has_nodata(self) -> bool:
        """Whether pixels may be no ground."""
        return self.bands % 2 == 0

    @property
    def own_bands(self) -> int:
        """Of stored pixels before a mask adds a band for the ground."""
        return self.bands - (self.mask is not None and not self.samples.has_nodata)

    def settled(self, pixels: NDArray[Any]) -> ImageFile:
        """With the range of values that some pixels (N, bands) of the file have."""
        samples = self.samples.settled(pixels)
        info = with_samples(self.info, samples, self.mask is not None, forget=self.samples.notes)
        return replace(self, samples=samples, info=info)

    def store(self, image: VipsImage) -> VipsImage:
        """Pixels of the file as they are kept. Raises VipsError."""
        return store(image, self.samples)


def shown(path: Path) -> str:
    """A path as it can be printed in one line: newlines, and bytes that are no text, escaped."""
    return str(path) if str(path).isprintable() else repr(str(path))[1:-1]


def _check_file(path: Path) -> None:
    """Raise ImageError for what is not a regular, readable, non-empty file."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{shown(path)}: a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{shown(path)}: a device or pipe, not a file; save the image to a file first")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise ImageError(f"{shown(path)}: no such file or directory") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{shown(path)}: cannot be read: {reason}") from error
    if status.st_size == 0:
        raise ImageError(f"{shown(path)}: the file is empty")
