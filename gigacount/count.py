"""Count one picture: open, look, add up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gigacount.errors import ImageError
from gigacount.image import GigaImage
from gigacount.look import Looked, Looker, Progress
from gigacount.memory import keep_freed_memory
from gigacount.networks import find_record
from gigacount.options import CountOptions
from gigacount.output.identity import image_identity
from gigacount.regions import read_regions
from gigacount.results import CountResult
from gigacount.strategies import find_strategy

if TYPE_CHECKING:
    from gigacount.predict import Predictor

__all__ = ["CountOptions", "CountResult", "Counter", "count_image"]


class Counter:
    """Counts pictures with networks that are loaded once, in the background, while the first picture is decoded.

    notify: called with a line for the user, such as where the scratch file is. Raises UnknownNameError and
    WeightsError for networks that are not there; whatever else is wrong with them, `predictor` raises.
    """

    def __init__(self, options: CountOptions, notify: Callable[[str], None] = lambda line: None) -> None:
        self.options = options
        self.looking = options.looking
        self.strategy = find_strategy(options.strategy)
        self.notify = notify
        names = {"network": options.network, "coarse_network": options.coarse_network}
        used = {role: name for role, name in names.items() if name is not None}
        for name in used.values():
            find_record(name)
        keep_freed_memory()
        self._loader = ThreadPoolExecutor(1, "load")
        self._loading = {role: self._loader.submit(self.predictor_for, name) for role, name in used.items()}

    @property
    def predictor(self) -> Predictor:
        return self._loading["network"].result()

    @property
    def coarse(self) -> Predictor | None:
        loading = self._loading.get("coarse_network")
        return loading.result() if loading else None

    def predictor_for(self, network: str) -> Predictor:
        from gigacount.predict import Locator, Predictor

        if self.options.fuse:
            return Locator(self.options, network)
        options = self.options
        return Predictor(network, options.device, options.precision, options.settings_of(network), options.backend)

    def count(self, path: Path, progress: Progress | None = None) -> CountResult:
        """Count the people in the picture at `path`.

        Raises ImageError where it cannot be read, DataError for regions that do not fit it.
        """
        return self.survey(path, progress)[0]

    def survey(self, path: Path, progress: Progress | None = None) -> tuple[CountResult, list[Looked]]:
        """Count as `count` does, and tell all that every look saw."""
        start = time.perf_counter()
        options, identity = self.options, image_identity(path)
        with GigaImage.open(path, options.reading, self.notify) as image:
            regions = read_regions(options.regions, image.size_wh, image.georeference) if options.regions else None
            planned = sum(level.looks for level in self.strategy.plan(image.size_wh, self.looking))
            if planned > 1:  # of one look there is nothing to cluster
                for library in self.strategy.libraries:
                    self._loader.submit(import_module, library)
            image.prepare(planned)
            look = Looker(image, self.predictor, self.coarse, planned=planned, progress=progress)
            density = self.strategy.run(look, image.size_wh, self.looking)
            preview = look.preview()
        if image_identity(path) != identity:
            raise ImageError(f"{path}: the file changed while it was read; count it again")
        result = CountResult(
            image=path,
            density=density,
            looked=[(looked.view, looked.count) for looked in look.looked],
            preview=preview,
            networks={role: identity_of(loading.result()) for role, loading in self._loading.items()},
            options=options,
            identity=identity,
            inferences=look.inferences,
            device=self.predictor.device,
            precision=self.predictor.precision,
            seconds={
                "read": look.read_seconds,
                "network": look.network_seconds,
                "total": time.perf_counter() - start,
            },
            regions=regions,
            georeference=image.georeference,
        )
        return result, look.looked


def identity_of(predictor: Predictor) -> dict[str, str]:
    return {"name": predictor.record.name, "sha256": predictor.record.sha256}


def count_image(path: Path, options: CountOptions | None = None, progress: Progress | None = None) -> CountResult:
    """Count one picture. For several, make one `Counter`: it loads the network once."""
    return Counter(options or CountOptions()).count(path, progress)
