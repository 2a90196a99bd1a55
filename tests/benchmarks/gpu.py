"""`make bench-gpu`: where the time of a count and of a training goes on a GPU, in one run of at most three minutes.

    python tests/benchmarks/gpu.py FOLDER [--device cuda] [--tiny]

FOLDER keeps the 404-megapixel scene between runs. Prints a table in Markdown with the name of the device. `--tiny`
tries every line with small windows and a small scene, as on a processor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

started = time.perf_counter()
import torch  # noqa: E402  its import is the first line of the table

IMPORT_SECONDS = time.perf_counter() - started

import pyvips  # noqa: E402
from processes import run  # noqa: E402
from scenes import as_jpeg  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from gigacount.networks import find_record  # noqa: E402
from gigacount.networks.backends.torch import Torch, choose_device, rounding_to_tf32  # noqa: E402
from gigacount.synthesize import SceneOptions, draw_scene, write_scene  # noqa: E402

WINDOWS = 10
BATCHES = (1, 2, 4, 8)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
COUNTS = {"GigaZoom": "gigazoom", "one look": "downsample", "adaptive": "adaptive"}
GPU_ALONE = ("adaptive",)  # on the processor it takes the time that is left for the whole table

Row = tuple[str, str]


@dataclass(frozen=True)
class Sizes:
    """What is measured with: windows and the training's pictures as (width, height), and the side of a convolution."""

    window: tuple[int, int] = (2560, 1440)
    photo: tuple[int, int] = (1024, 768)
    side: int = 256
    steps: int = 200
    scene: SceneOptions | None = None  # None is the scene of `make bench`


TINY = Sizes((320, 192), (512, 512), 16, 2, SceneOptions((1600, 900), people=50, seed=2023))


class Bench:
    """The lines of the table, in the order in which a count would meet them."""

    def __init__(self, folder: Path, device: torch.device, sizes: Sizes) -> None:
        self.folder, self.device, self.sizes = folder, device, sizes
        gpu = device.type == "cuda"
        self.precisions = ("bf16", "fp16", "fp32", "tf32") if gpu else ("bf16", "fp32")

    def seconds(self, work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began

    def noise(self, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        return np.random.default_rng(0).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)

    def load(self, precision: str) -> Torch:
        return Torch(find_record("light"), str(self.device), precision)

    def start(self) -> Iterator[Row]:
        """What is done in the background while an image is opened, then windows of its size and of another."""
        yield "`import torch`", f"{IMPORT_SECONDS:.2f} s"
        yield "CUDA context", f"{self.seconds(lambda: torch.zeros(1, device=self.device)):.2f} s"
        loaded: list[Torch] = []
        yield "weights", f"{self.seconds(lambda: loaded.append(self.load('auto'))):.2f} s"
        width, height = self.sizes.window
        yield "warm-up", f"{self.seconds(lambda: loaded[0].warm_up((width, height))):.2f} s"
        for what, size in ("window", (width, height)), ("window of another size", (width - 64, height - 32)):
            window = self.noise(size)
            took = [self.seconds(lambda w=window: loaded[0].see([w], False)) for _ in range(WINDOWS)]
            yield f"first {what} / tenth", f"{took[0] * 1e3:.1f} / {took[-1] * 1e3:.1f} ms"

    def windows(self) -> Iterator[Row]:
        """Windows as they are counted, in every precision, and how much of the device they use."""
        for precision in self.precisions:
            loaded = self.load(precision)
            counted, located, bare = self.window(loaded)
            yield (
                f"window, {precision}: counted / located / bare forward",
                f"{counted * 1e3:.1f} / {located * 1e3:.1f} / {bare * 1e3:.1f} ms ({counted / bare:.2f} x bare)",
            )
            if precision == "bf16":
                width, height = self.sizes.window
                with FlopCounterMode(display=False) as counter:  # with gradients: what fuses for counting is not seen
                    loaded.network.float()(torch.zeros(1, 3, height, width, device=self.device))
                operations, most = counter.get_total_flops(), self.rate_of_a_convolution()
                yield "operations of a window", f"{operations / 1e9:.0f} GFLOP"
                yield "a large convolution in bf16", f"{most / 1e12:.2f} TFLOP/s"
                yield "the bare forward's share of that rate", f"{operations / bare / most:.1%}"

    def window(self, loaded: Torch) -> tuple[float, float, float]:
        """Seconds of a window from bytes to cells, the same with heads, and of the network on what is there already."""
        window, dtype = self.noise(self.sizes.window), DTYPES.get(loaded.precision, torch.float32)
        loaded.see([window], True)
        counted = median(self.seconds(lambda: loaded.see([window], False)) for _ in range(WINDOWS))
        located = median(self.seconds(lambda: loaded.see([window], True)) for _ in range(WINDOWS))
        with (
            torch.inference_mode(),
            rounding_to_tf32(loaded.precision == "tf32"),
            torch.autocast(self.device.type, dtype, dtype != torch.float32),
        ):
            images = loaded._normalise(loaded._uploaded([window]).permute(0, 3, 1, 2))
            bare = median(self.seconds(lambda: loaded.network(images)) for _ in range(WINDOWS))
        return counted, located, bare

    def rate_of_a_convolution(self) -> float:
        """FLOP/s of a 3 x 3 convolution that has much to do: what the device can."""
        side, channels, batch = self.sizes.side, 256, 4
        images = torch.randn(batch, channels, side, side, device=self.device, dtype=torch.bfloat16)
        images = images.to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1, device=self.device, dtype=torch.bfloat16)
        with torch.inference_mode():
            took = min(self.seconds(lambda: layer(images)) for _ in range(WINDOWS))
        return 2 * batch * side**2 * channels * channels * 9 / took

    def batches(self) -> Iterator[Row]:
        loaded, window = self.load("auto"), self.noise(self.sizes.window)
        took = []
        for count in BATCHES:
            loaded.see([window] * count, False)
            took.append(min(self.seconds(lambda n=count: loaded.see([window] * n, False)) for _ in range(5)) / count)  # type: ignore[misc]
        yield (
            f"a window in batches of {', '.join(map(str, BATCHES))} (used: {loaded.batch})",
            " / ".join(f"{seconds * 1e3:.1f}" for seconds in took) + " ms",
        )

    def agreement(self, image: Path) -> Iterator[Row]:
        """A window in the middle of the scene, against fp32 on the processor."""
        whole = pyvips.Image.new_from_file(str(image))
        width, height = (
            min(side, most) for side, most in zip((whole.width, whole.height), self.sizes.window, strict=True)
        )
        left, top = (whole.width - width) // 2, (whole.height - height) // 2
        window = whole.crop(left, top, width, height).numpy()
        (expected,) = Torch(find_record("light"), "cpu", "fp32").see([window], False)[0]
        for precision in self.precisions:
            (found,) = self.load(precision).see([window], False)[0]
            off = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            yield (
                f"{precision} against fp32 on the processor: people, cells",
                f"{found.sum():.2f} of {expected.sum():.2f} ({found.sum() / expected.sum() - 1:+.2%}), {off:.1e}",
            )

    def counts(self, image: Path) -> Iterator[Row]:
        """Whole commands, with the files that they write."""
        out = self.folder / "out"
        for what, strategy in COUNTS.items():
            for device in dict.fromkeys((str(self.device), *(() if what in GPU_ALONE else ("cpu",)))):
                shutil.rmtree(out, ignore_errors=True)
                options = f"--quiet --device {device} --strategy {strategy}".split()
                took = run("-m", "gigacount", "count", str(image), "--out", str(out), *options)
                (told,) = out.glob("**/count.json")
                result = json.loads(told.read_text())
                spent = result["seconds"]
                yield (
                    f"{what}, {device} ({result['backend']} {result['precision']})",
                    f"{took.seconds:.1f} s: counting {spent['total']:.1f} s, of which the network was at work"
                    f" {spent['network']:.1f} s and readers {spent['read']:.1f} s; {result['inferences']} windows,"
                    f" {took.answer} people",
                )

    def training(self) -> Iterator[Row]:
        """The light network on pictures of noise, as large as photographs of a data set."""
        folder, out = self.folder / "photos", self.folder / "training"
        write_photos(folder, self.sizes.photo)
        shutil.rmtree(out, ignore_errors=True)
        options = "--steps", str(self.sizes.steps), "--validation", "0", "--device", str(self.device)
        run("-m", "gigacount", "train", "--data", f"csv:{folder}", "--out", str(out), *options)
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        last = [entry for entry in log if "steps_per_second" in entry][-1]
        yield (
            "training, the last 50 steps",
            f"{last['steps_per_second']:.1f} steps/s, {last['waiting']:.0%} of the time waiting for crops",
        )


def write_photos(folder: Path, size_wh: tuple[int, int], pictures: int = 24) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), ["image,x,y"]
    for number in range(pictures):
        pixels = rng.integers(0, 255, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        pyvips.Image.new_from_array(pixels).jpegsave(str(folder / f"{number}.jpg"))
        rows += [f"{number}.jpg,{x:.1f},{y:.1f}" for x, y in rng.uniform(0, 1, (300, 2)) * (size_wh[0], size_wh[1])]
    (folder / "heads.csv").write_text("\n".join(rows) + "\n")


def draw(folder: Path, sizes: Sizes) -> Path:
    """The scene as a JPEG."""
    if sizes.scene is None:
        return as_jpeg(folder)
    path = folder / "tiny.jpg"
    if not path.exists():
        write_scene(draw_scene(sizes.scene), folder / "tiny.tif")
        pyvips.Image.new_from_file(str(folder / "tiny.tif")).jpegsave(str(path), Q=90)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--draw", action="store_true", help="make the scene and nothing else")
    arguments = parser.parse_args()
    sizes = TINY if arguments.tiny else Sizes()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.draw:
        draw(arguments.folder, sizes)
        return
    device = choose_device(arguments.device)
    drawing = subprocess.Popen([sys.executable, *sys.argv, "--draw"], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    bench = Bench(arguments.folder, device, sizes)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor"
    print(f"| light on {name}, {os.cpu_count()} cores, PyTorch {torch.__version__} | |\n|---|---|")
    show(bench.start(), bench.windows(), bench.batches(), bench.training())
    drawing.wait()
    image = draw(arguments.folder, sizes)
    show(bench.agreement(image), bench.counts(image))
    print(f"| this table | {time.perf_counter() - started:.0f} s |")


def show(*parts: Iterator[Row]) -> None:
    """Print the lines of each part; one that fails does not take the others along."""
    for rows in parts:
        try:
            for what, figure in rows:
                print(f"| {what} | {figure} |", flush=True)
        except (SystemExit, Exception) as error:
            print(f"| failed | {type(error).__name__}: {error} |", flush=True)


if __name__ == "__main__":
    main()
