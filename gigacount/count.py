"""Count one image, and locate its people where asked: open, look, add up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigacount.errors import DataError, ImageError, UsageError
from gigacount.geometry import View
from gigacount.image import GigaImage
from gigacount.image.array import ArrayImage, pixels_of
from gigacount.image.room import free_bytes
from gigacount.interval import interval_of
from gigacount.key import RunKey, content_hash, image_identity, looking_of, plain_options, records_of
from gigacount.look import Locating, Looker, Progress
from gigacount.networks.record import NetworkRecord
from gigacount.options import CountOptions, RegionOptions
from gigacount.output.head_files import require_coordinates
from gigacount.regions import read_regions
from gigacount.results import CountResult
from gigacount.strategies import find_strategy

if TYPE_CHECKING:
    from gigacount.predict import Predictor

__all__ = ["CountOptions", "CountResult", "Counter", "count_image", "localize_image"]

LIBRARY_BYTES = 2**27
"""Memory without which nothing is loaded: OpenBLAS, which scipy brings for heads, asks for ever for what it does not
get."""

_users: set[int] = set()
"""Processes that have counted: libvips and torch do not work in their forks."""


class Counter:
    """Counts images with networks that are loaded once, in the background, while the first image is decoded.

    locate: whether people are located as well. preview: whether results have a small copy of the image, for drawing.
    notify: called with a line for the user, such as where the scratch file is. records: of the networks by role, where
    they were looked up before. Raises UnknownNameError and WeightsError for networks that are not there; whatever else
    is wrong with them, `predictor` raises.
    """

    def __init__(
        self,
        options: CountOptions,
        notify: Callable[[str], None] = lambda line: None,
        locate: bool = False,
        preview: bool = True,
        records: Mapping[str, NetworkRecord] | None = None,
    ) -> None:
        demand_no_fork()
        self.options, self.notify = options, notify
        self.locate, self.preview = locate, preview
        self.records = records_of(options) if records is None else records
        self.key = RunKey.of(options, self.records)
        self.looking = looking_of(options, self.records)
        self.strategy = find_strategy(options.strategy)
        self._loader = ThreadPoolExecutor(1, "load")
        self._loading: dict[str, Future[Predictor]] = {}

    def load(self) -> None:
        """Begin to load the networks in the background, unless that has begun.

        Raises MemoryError where the libraries would not fit.
        """
        if not self._loading and free_bytes() < LIBRARY_BYTES:
            raise MemoryError("too little memory to load the libraries; close other programs")
        for role, record in self.records.items():
            if role not in self._loading:
                self._loading[role] = self._loader.submit(self._load, role, record)

    @property
    def predictor(self) -> Predictor:
        """The network, loaded. Raises UsageError and WeightsError where it cannot be."""
        self.load()
        return self._loading["network"].result()

    @property
    def coarse(self) -> Predictor | None:
        """The network for the first look at the whole image, where there is one of its own."""
        self.load()
        return self._loading["coarse_network"].result() if "coarse_network" in self.records else None

    def _load(self, role: str, record: NetworkRecord) -> Predictor:
        from gigacount.predict import Predictor

        options = self.options
        same = role == "network" or options.coarse_network == options.network
        settings = self._settings[0] if same else {}
        predictor = Predictor(record, options.device, options.precision, settings, options.backend)
        predictor.warm_up(self.looking.max_size)
        return predictor

    @cached_property
    def _settings(self) -> tuple[dict[str, object], bool]:
        """The network's settings in this run, and whether its density is fused with its heads. Raises UsageError."""
        if not self.options.settings:
            return {}, False
        from gigacount.networks.settings import settings_in_use

        record = self.records["network"]
        return settings_in_use(record.network, self.options.settings, record.settings)

    def count(self, image: Any, progress: Progress | None = None) -> CountResult:
        """Count the people in an image: a path, an array (H, W, 3) of uint8, or an image of Pillow or pyvips.

        Raises ImageError where it cannot be read, DataError for regions that do not fit it, UsageError in a process
        that was forked from one that has counted.
        """
        demand_no_fork()
        if not isinstance(image, str | Path):
            return self._count(ArrayImage(pixels_of(image)), None, {}, progress)
        path = Path(image)
        identity = image_identity(path)
        with GigaImage.open(path, self.options.reading, self.notify) as opened:
            result = self._count(opened, path, identity | content_hash(path), progress)
        if image_identity(path) != identity:
            raise ImageError(f"{path}: the file changed while it was read; count it again")
        return result

    def _count(
        self,
        image: GigaImage | ArrayImage,
        path: Path | None,
        identity: dict[str, int | str],
        progress: Progress | None,
    ) -> CountResult:
        start = time.perf_counter()
        _users.add(os.getpid())
        options, size_wh = self.options, image.size_wh
        if plain_options(options) != self.key.options:
            raise DataError("a file of regions changed while images were counted; start again")
        place = image.georeference
        regions = read_regions(options.regions, size_wh, place) if options.regions else None
        excluded = read_regions(RegionOptions(options.exclude), size_wh, place) if options.exclude else None
        require_coordinates(options.coordinates, place)
        self.load()
        planned = sum(level.looks for level in self.strategy.plan(size_wh, self.looking))
        if planned > 1:  # of one look there is nothing to cluster
            for library in self.strategy.libraries:
                self._loader.submit(import_module, library)
        image.prepare(planned)
        fuse = self._settings[1]
        heads = Locating(options.min_score, fuse) if self.locate or fuse else None
        with Looker(image, self.predictor, self.coarse, heads, planned, progress) as look:
            density = self.strategy.run(look, size_wh, self.looking)
            if excluded is not None:
                excluded.clear(density)
            preview = look.preview() if self.preview else None
        if regions is not None:
            regions = regions.on_ground(image.valid, size_wh)
        looked = look.looked if excluded is None else [one.without(excluded) for one in look.looked]
        located = None
        if self.locate:
            from gigacount.localize import locate

            located = locate(density, looked, lambda view: self._record_of(view).head_px[0])
        return CountResult(
            image=path,
            density=density,
            looked=looked,
            networks=self.key.networks,
            options=options,
            identity=identity,
            key=self.key.hash,
            inferences=look.inferences,
            device=self.predictor.device,
            precision=self.predictor.precision,
            backend=self.predictor.backend,
            seconds={
                "read": look.read_seconds,
                "network": look.network_seconds,
                "total": time.perf_counter() - start,
            },
            heads=located,
            regions=regions,
            preview=preview,
            georeference=place,
            notes=(*image.notes, *(note for one in (regions, excluded) if one for note in one.notes)),
            interval=interval_of(density, looked, lambda view: self._record_of(view).resolution),
        )

    def _record_of(self, view: View) -> NetworkRecord:
        """The record of the network of a look."""
        return self.records["coarse_network" if view.coarse and "coarse_network" in self.records else "network"]


def demand_no_fork() -> None:
    """Raise UsageError in a process that was forked from one that has counted: a count there would wait for ever."""
    if _users and os.getpid() not in _users:
        raise UsageError("this process was forked from one that has counted; start processes with 'spawn' instead")


def count_image(image: Any, options: CountOptions | None = None, progress: Progress | None = None) -> CountResult:
    """Count the people in one image: a path, an array (H, W, 3) of uint8, or an image of Pillow or pyvips.

    For several, make one `Counter`: it loads the network once.
    """
    return Counter(options or CountOptions()).count(image, progress)


def localize_image(image: Any, options: CountOptions | None = None, progress: Progress | None = None) -> CountResult:
    """Count the people in one image as `count_image` does, and locate their heads: see the result's `points`."""
    return Counter(options or CountOptions(), locate=True).count(image, progress)
