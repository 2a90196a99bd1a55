"""Count and locate people in gigapixel photographs.

Names are imported on first use, so that `import gigacount` and the command line start fast and without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "GigaImage": "gigacount.image",
    "Window": "gigacount.geometry",
    "DensityMap": "gigacount.density",
    "Predictor": "gigacount.predict",
    "CountOptions": "gigacount.options",
    "CountResult": "gigacount.results",
    "count_image": "gigacount.count",
    "StrategyOptions": "gigacount.options",
    "PeakOptions": "gigacount.options",
    "ReadOptions": "gigacount.options",
    "RegionOptions": "gigacount.options",
    "Counter": "gigacount.count",
    "localize_image": "gigacount.count",
    "GigacountError": "gigacount.errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gigacount' has no attribute '{name}'")
