"""What an image is, what is assumed about it, and what counting it would take. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gigacount.density import DensityMap, choose_cell_px
from gigacount.errors import ImageError
from gigacount.geometry import Size, Window, fit, whole
from gigacount.image import GigaImage, ImageInfo, needed_bytes
from gigacount.key import looking_of, records_of
from gigacount.networks.backends import choose_backend
from gigacount.options import CountOptions
from gigacount.strategies import PlannedLevel, find_strategy
from gigacount.text import plural, printable

PROCESS_BYTES = 420_000_000  # interpreter, OpenVINO or torch, libvips and its caches: docs/experiments/performance.md
READ_PIXEL_BYTES = 250  # per read pixel in the default network, bf16 or fp32 (its widest layer); measured likewise

LOOK_PIXELS_PER_SECOND = 6e6  # the default network on a CPU of some cores, docs/experiments/performance.md
DECODED_PER_SECOND = {"JPEG": 1.2e8, "PNG": 3e7}  # pixels of files without tiles, which are decoded from end to end
OTHERS_DECODED_PER_SECOND = 5e7
START_SECONDS = 2.0

QUICK_PIXELS = 50_000_000
"""Up to this size an image is looked at as a whole to describe it; a larger one with tiles at some places."""

BACKEND_NAMES = {"openvino": "OpenVINO", "torch": "PyTorch"}
PLACES, PLACE = 8, 64
"""Places along each axis, and their side in pixels."""


@dataclass(frozen=True)
class Description:
    """An image and the plan for it; `levels` are upper bounds, since empty images are zoomed into less.

    ground_share: of the image that is neither transparent, masked nor nodata, 0..1; None where nothing was read.
    place: where it lies on the earth, in words. network, backend: what counts it. advised: the
    strategy that suits it, and why.
    """

    image: ImageInfo
    notes: tuple[str, ...]
    ground_share: float | None
    place: str | None
    network: str
    backend: str
    strategy: str
    levels: list[PlannedLevel]
    canvas_wh: Size
    cell_px: int
    advised: tuple[str, str]

    @property
    def inferences(self) -> int:
        return sum(level.looks for level in self.levels)

    @property
    def memory_bytes(self) -> int:
        """Estimated peak of the process with the default network on a CPU."""
        largest = max(level.size_wh[0] * level.size_wh[1] for level in self.levels)
        counting = READ_PIXEL_BYTES * largest + 4 * self.canvas_wh[0] * self.canvas_wh[1]
        return PROCESS_BYTES + max(counting, needed_bytes(self.image))  # decoding is over when counting is at its most

    @property
    def seconds(self) -> float:
        """Roughly how long a run takes, with the default network on a CPU."""
        certain, rest = (
            sum(level.looks * math.prod(level.size_wh) for level in self.levels if level.certain is sure)
            for sure in (True, False)
        )
        looks = certain + min(certain, rest)  # closer looks add .2 to .9 (docs/experiments/benchmark.md)
        rate = DECODED_PER_SECOND.get(self.image.format, OTHERS_DECODED_PER_SECOND)
        decoding = 0.0 if self.image.tile_wh else self.gigapixels * 1e9 / rate
        return START_SECONDS + looks / LOOK_PIXELS_PER_SECOND + decoding

    @property
    def gigapixels(self) -> float:
        return self.image.size_wh[0] * self.image.size_wh[1] / 1e9

    def as_dict(self) -> dict[str, Any]:
        plan = {
            "network": self.network,
            "backend": self.backend,
            "strategy": self.strategy,
            "advised": self.advised[0],
            "why": self.advised[1],
            "levels": [asdict(level) for level in self.levels],
            "inferences": self.inferences,
            "canvas_wh": self.canvas_wh,
            "cell_px": self.cell_px,
            "memory_bytes": self.memory_bytes,
            "seconds": round(self.seconds, 1),
        }
        image = asdict(self.image) | {
            "path": str(self.image.path),
            "gigapixels": self.gigapixels,
            "ground_share": self.ground_share,
            "place": self.place,
            "notes": self.notes,
        }
        return {"image": image, "plan": plan}

    def as_text(self) -> str:
        canvas = f"{self.canvas_wh[0]:,} x {self.canvas_wh[1]:,} cells of {self.cell_px} px"
        name, why = self.advised
        lines = [
            *self._image_lines(),
            *(f"{'note':<12}{note}" for note in self.notes),
            f"{'network':<12}{self.network}, run by {BACKEND_NAMES[self.backend]}",
            f"{'advised':<12}--strategy {name}: {why}",
            f"{'plan':<12}{self.strategy}: {looks_in_words(self.levels)}",
            f"{'canvas':<12}{canvas}",
            f"{'memory':<12}about {self.memory_bytes / 1e9:.1f} GB on a CPU with the default network",
            f"{'time':<12}very roughly {max(self.seconds, 1):.0f} s on a CPU with the default network",
            f"{'level':<12}{'window':>18}{'read at':>16}{'looks':>8}",
        ]
        for level in self.levels:
            window, read = (f"{w:,} x {h:,}" for w, h in (level.window_wh, level.size_wh))
            lines.append(f"{level.level:<12}{window:>18}{read:>16}{level.looks:>8}")
        return "\n".join(lines)

    def _image_lines(self) -> list[str]:
        image = self.image
        width, height = image.size_wh
        if image.tile_wh:
            layout = f"tiles of {image.tile_wh[0]} x {image.tile_wh[1]}"
        else:
            layout = "no random access: decoded once, into a scratch file if more than one look is needed"
        levels = ", ".join(f"{w:,} x {h:,}" for w, h in image.level_sizes[1:]) or "none"
        depth = f"{image.bits}-bit{' float' if image.floating_point else ''}"
        profile = ", embedded profile" if image.icc else ""
        turned = f", turned upright (EXIF orientation {image.orientation})" if image.orientation != 1 else ""
        return [
            f"{'image':<12}{printable(str(image.path))}",
            f"{'size':<12}{width:,} x {height:,} px, {self.gigapixels:.3f} gigapixels{turned}",
            f"{'format':<12}{image.format}, {image.file_bytes:,} bytes",
            f"{'layout':<12}{layout}",
            f"{'pyramid':<12}{levels}",
            f"{'colour':<12}{image.colour}, {image.bands} bands, {depth}{profile}",
            f"{'bands':<12}{_bands(image)}",
            f"{'range':<12}{_range(image)}",
            f"{'ground':<12}{self._ground()}",
            f"{'place':<12}{self.place or 'not on a map'}",
        ]

    def _ground(self) -> str:
        image = self.image
        kinds = [
            *([f"opacity in band {image.alpha}"] if image.alpha else []),
            *(["a mask"] if image.mask else []),
            *([f"nodata {image.nodata:g}"] if image.nodata is not None else []),
        ]
        if not kinds and self.ground_share in (None, 1):
            return "all of it"
        share = "not known without decoding" if self.ground_share is None else f"about {self.ground_share:.1%} of it"
        return f"{share} ({', '.join(kinds) or 'the rest is no number'})"


def _bands(image: ImageInfo) -> str:
    if image.bands_seen is None:
        return f"as {image.colour} has them"
    numbers = ", ".join(map(str, image.bands_seen))
    return f"{numbers} as {'red, green, blue' if len(image.bands_seen) == 3 else 'grey'}"


def _range(image: ImageInfo) -> str:
    if image.value_range is not None:
        low, high = image.value_range
        by = {"--range": "as asked for", "pixels": "as its pixels are"}.get(
            image.range_from, f"by its {image.range_from}"
        )
        return f"{low:g} is black, {high:g} is white ({by})"
    if image.range_from == "":
        return "not known without decoding"
    return "linear light, 0 is black and 1 is white" if image.floating_point else "the whole range of the type"


def describe(path: Path, options: CountOptions) -> Description:
    """Look at an image's header and at some of its pixels; those of a large file without tiles are decoded only
    where its values have no known range, or not all may be ground.

    Raises ImageError where the image cannot be opened.
    """
    with GigaImage.open(path, options.reading) as image:
        notes = _look_over(image)
        georeference = image.georeference
        records = records_of(options)
        record = records["network"]
        options = replace(options, looking=looking_of(options, records))
        levels = find_strategy(options.strategy).plan(image.size_wh, options.looking)
        rows, cols = DensityMap.empty(image.size_wh).cells.shape
        return Description(
            image=image.info,
            notes=image.notes + notes,
            ground_share=image.ground_share,
            place=georeference.summary(image.size_wh) if georeference else None,
            network=record.name,
            backend=choose_backend(record, {}, options.backend, options.device, options.precision),
            strategy=options.strategy,
            levels=levels,
            canvas_wh=(cols, rows),
            cell_px=choose_cell_px(image.size_wh),
            advised=advise(image.size_wh, options),
        )


def _look_over(image: GigaImage) -> tuple[str, ...]:
    """Read some of the image, so that its range, its ground and what is odd are known; says what that fails at."""
    everything = whole(image.size_wh)
    try:
        if everything.pixels <= QUICK_PIXELS or (image.info.tile_wh is None and image.must_decode):
            image.read(everything, fit(image.size_wh, (1024, 1024)))
        elif image.info.tile_wh is not None:
            right, bottom = (side - PLACE for side in image.size_wh)
            for number in range(PLACES**2):
                left, top = right * (number % PLACES) // (PLACES - 1), bottom * (number // PLACES) // (PLACES - 1)
                image.read(Window(left, top, PLACE, PLACE), (PLACE, PLACE))
    except ImageError as error:
        return (printable(str(error)),)
    return ()


def looks_in_words(levels: Sequence[PlannedLevel]) -> str:
    certain = sum(level.looks for level in levels if level.certain)
    rest = sum(level.looks for level in levels) - certain
    return f"{plural(certain, 'look')}, and at most {rest} closer" if rest else f"at most {plural(certain, 'look')}"


def advise(size_wh: Size, options: CountOptions) -> tuple[str, str]:
    """The strategy that suits an image of this size, and why: all of it where that costs no more than zooms."""
    default = CountOptions().strategy
    if size_wh[0] <= options.looking.max_size[0] and size_wh[1] <= options.looking.max_size[1]:
        return default, "one look sees every pixel"
    plans = {name: find_strategy(name).plan(size_wh, options.looking) for name in ("full", default)}
    full = sum(level.looks for level in plans["full"])
    if full <= sum(level.looks for level in plans[default] if level.certain):
        return "full", f"{full} looks see every pixel, {default} would take as many"
    return default, f"{looks_in_words(plans[default])}, where people stand close; --strategy full would take {full}"
