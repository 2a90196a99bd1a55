"""What a user would write today: Pillow decodes the whole picture, plain PyTorch CSRNet counts 1920 x 1200 tiles.

    python naive.py IMAGE [TILES]

Counts only the first TILES tiles and prints the seconds of decode and tiles, and how many tiles there are, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from PIL import Image

from gigacount.networks import build


def main(path: str, most: str = "1000000") -> None:
    Image.MAX_IMAGE_PIXELS = None
    start = time.perf_counter()
    pixels = np.asarray(Image.open(path).convert("RGB"))
    decoded = time.perf_counter()
    network = build("csrnet").eval()
    height, width = pixels.shape[:2]
    corners = [(top, left) for top in range(0, height, 1200) for left in range(0, width, 1920)]
    with torch.no_grad():
        for top, left in corners[: int(most)]:
            tile = torch.from_numpy(pixels[top : top + 1200, left : left + 1920].copy()).permute(2, 0, 1)[None]
            network.predict((tile.float() / 255 - 0.45) / 0.23)
    done = len(corners[: int(most)])
    figures = {"decode": decoded - start, "tiles": time.perf_counter() - decoded, "done": done, "of": len(corners)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
