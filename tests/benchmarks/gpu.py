"""`make bench-gpu`: where the time of a count on a GPU goes, in one run of some minutes.

    python tests/benchmarks/gpu.py FOLDER [--device cuda]

FOLDER keeps the 404-megapixel scene between runs. Prints a table in Markdown with the name of the device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from processes import run
from scenes import as_jpeg

from gigacount.networks import find_record
from gigacount.networks.backends.torch import Torch

SIZE_HW = (1440, 2560)
WINDOWS = 10
COUNTS = {
    "GigaZoom of a 404 MP JPEG": ("--strategy", "gigazoom"),
    "adaptive on the same": ("--strategy", "adaptive"),
    "one look at it": ("--strategy", "downsample"),
}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def windows(device: torch.device, precision: str) -> list[tuple[str, str]]:
    """The first window, the tenth, and the bare network on what is on the device already."""
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    began = time.perf_counter()
    loaded = Torch(find_record("light"), str(device), precision)
    rows = [("network loaded", f"{time.perf_counter() - began:.2f} s")]
    took = [seconds(lambda: loaded.see(picture[None], False), device) for _ in range(WINDOWS)]
    rows += [("first window", f"{took[0] * 1e3:.0f} ms"), ("tenth window", f"{took[-1] * 1e3:.0f} ms")]
    images = torch.zeros(1, 3, *SIZE_HW, device=device).to(memory_format=torch.channels_last)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(loaded.precision, torch.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype, dtype != torch.float32):
        bare = [seconds(lambda: loaded.network(images), device) for _ in range(WINDOWS)]
    rows.append(("bare forward pass", f"{min(bare) * 1e3:.0f} ms"))
    rows.append(("tenth window / bare", f"{took[-1] / min(bare):.2f} x"))
    return rows


def rate_of_a_convolution(device: torch.device) -> float:
    """FLOP/s of a large 3 x 3 convolution in bf16: what the device can do."""
    dtype = torch.bfloat16
    images = torch.randn(4, 256, 256, 256, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype)
    with torch.inference_mode():
        took = min(seconds(lambda: layer(images), device) for _ in range(5))
    return 2 * 4 * 256**2 * 256 * 256 * 9 / took


def counts(path: Path, folder: Path, device: str) -> list[tuple[str, str]]:
    rows = []
    for where in dict.fromkeys((device, "cpu")):
        for what, options in COUNTS.items():
            command = ("count", str(path), "--out", str(folder / "out"), "--overwrite", "--quiet", "--device", where)
            took = run("-m", "gigacount", *command, *options)
            rows.append((f"{what}, {where}", f"{took.seconds:.1f} s ({took.answer} people)"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor"
    print(f"| on {name} | |\n|---|---|")
    for precision in ("auto", "fp32"):
        for what, figure in windows(device, precision):
            print(f"| {what}, {precision} | {figure} |", flush=True)
    print(f"| a large convolution in bf16 | {rate_of_a_convolution(device) / 1e12:.1f} TFLOP/s |", flush=True)
    for what, figure in counts(as_jpeg(arguments.folder), arguments.folder, arguments.device):
        print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
