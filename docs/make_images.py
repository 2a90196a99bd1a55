"""Write docs/images/demo.jpg, the image in the README, from the overlay that `make demo` leaves; see `make images`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parent / "images" / "demo.jpg"
WIDTH_PX = 1000


def main(demo: Path) -> None:
    """Shrink the overlay in the folder of the demonstration to the width of a page."""
    with Image.open(demo / "scene.tif.gigacount" / "overlay.jpg") as overlay:
        height = round(overlay.height * WIDTH_PX / overlay.width)
        overlay.resize((WIDTH_PX, height), Image.Resampling.LANCZOS).save(TARGET, quality=70, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
