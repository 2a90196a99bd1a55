"""The sections of `make bench`; each compares what runs in the same minutes on the same cores."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyvips
import torch
from figures import Figure
from processes import Run, run
from scenes import as_jpeg, as_strips, part, repeated, scene, sequential

from gigacount.density import DensityMap
from gigacount.geometry import whole
from gigacount.image import GigaImage
from gigacount.networks import build
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import StrategyOptions
from gigacount.predict import Predictor
from gigacount.strategies.full import views_with_context

HERE = Path(__file__).parent
THREE_SCALES = ("--strategy", "sliding", "--scales", "1,1/4,1/8")
GIGAZOOM = ("--strategy", "gigazoom")


def count(path: Path, out: Path, *more: str) -> Run:
    return run("-m", "gigacount", "count", str(path), "--out", str(out), "--json", "--quiet", "--overwrite", *more)


def decode_seconds(path: Path) -> float:
    """One sequential decode of the whole file, the pixels thrown away."""
    pyvips.cache_set_max(0)  # or a second decode of the same file would be remembered
    start = time.perf_counter()
    sequential(path).avg()
    return time.perf_counter() - start


def csrnet(folder: Path) -> str:
    """The record of a CSRNet of random weights, which cost as much as trained ones."""
    record, weights = folder / "csrnet.toml", folder / "csrnet.safetensors"
    if not record.exists():
        save_weights(build("csrnet"), weights)
        write_record(NetworkRecord("csrnet", "csrnet", weights.name, hash_file(weights)), record)
    return str(record)


def pipeline(folder: Path) -> Iterator[Figure]:
    """A run against one decode of its file and the bare forward passes over its windows."""
    jpeg, tiled, strips = as_jpeg(folder), scene(folder), as_strips(folder)
    runs = (
        ("JPEG", jpeg, "gigazoom", "<= 6"),
        ("JPEG", jpeg, "adaptive", ""),
        ("tiled TIFF", tiled, "gigazoom", ""),
        ("tiled TIFF", tiled, "adaptive", ""),
        ("stripped TIFF", strips, "gigazoom", ""),
    )
    for kind, path, strategy, decodes in runs:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            counted = count(path, Path(out), "--strategy", strategy)
            report = next(Path(out).rglob("count.json"))
            decode = decode_seconds(path)
            bare = json.loads(run(str(HERE / "bare.py"), str(path), str(report), "light").answer)
        what = f"{kind}, {strategy}"
        yield Figure(f"{what}: wall / decode", counted.seconds / decode, "x", decodes, kept=True)
        yield Figure(f"{what}: wall / (decode + bare network)", counted.seconds / (decode + bare["seconds"]), "x", "")
        yield Figure(f"{what}: wall", counted.seconds, "s")
        yield Figure(f"{what}: decode", decode, "s")
        yield Figure(f"{what}: bare network, {bare['looks']} looks", bare["seconds"], "s")
        yield Figure(f"{what}: peak memory", counted.peak_mb, "MB", "<= 1200", kept=True)


def best_of(times: int, work: Callable[[], object]) -> float:
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def multiply_accumulates(network: Network, height: int, width: int) -> float:
    """Of a counting pass over one image, per pixel: those of its convolutions and linear layers."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:  # with gradients: what is fused for counting alone would not be counted
        network.predict(torch.zeros(1, 3, height, width))
    return counter.get_total_flops() / 2 / (height * width)


def arithmetic(folder: Path) -> Iterator[Figure]:
    """A look of 1280 x 720: the backends and their precisions against naive fp32 PyTorch, and light against CSRNet."""
    picture, seconds = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), dtype=np.uint8), {}
    ways = {"light": (("openvino", "int8"), ("openvino", "bf16"), ("openvino", "fp32"), ("torch", "bf16"))}
    for name, network in (("light", "light"), ("csrnet", csrnet(folder))):
        naive = float(run(str(HERE / "plain.py"), name).answer)
        macs = multiply_accumulates(build(name).eval(), 720, 1280)
        yield Figure(f"{name}: multiply-accumulates", macs / 1000, "k a pixel", kept=True)
        for backend, precision in ways.get(name, (("torch", "bf16"),)):
            predictor = Predictor(network, "cpu", precision, backend=backend)
            took = seconds[name, backend, precision] = best_of(3, partial(predictor.predict, [picture]))
            what = f"{name}, {backend}, {precision}"
            yield Figure(f"{what}: seconds a megapixel", took / 0.9216, "s")
            yield Figure(f"{what}: naive fp32 PyTorch / this", naive / took, "x", "", True, True)
        speed = 2 * macs * 720 * 1280 / seconds[name, "torch", "bf16"] / 1e9
        yield Figure(f"{name}, torch, bf16: speed", speed, "GFLOP/s")
    yield Figure("matrix product bf16 speed, 4096 x 4096 (what the cores can do)", peak_gflops(), "GFLOP/s")
    ratio = seconds["csrnet", "torch", "bf16"] / seconds["light", "openvino", "int8"]
    yield Figure("csrnet in bf16 / light in int8", ratio, "x", "", True, True)


def peak_gflops(side: int = 4096) -> float:
    a, b = (torch.randn(side, side, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / best_of(3, lambda: a @ b) / 1e9


def precision(folder: Path) -> Iterator[Figure]:
    counts = {}
    for name in ("fp32", "bf16", "int8"):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            counts[name] = json.loads(count(scene(folder), Path(out), "--precision", name).answer)["count"]
    for name in ("bf16", "int8"):
        yield Figure(f"count in {name} against fp32", 100 * abs(counts[name] / counts["fp32"] - 1), "%", "<= 1")


def field(folder: Path) -> Iterator[Figure]:
    """GigaZoom against Gigapixel CSRNet's three scales with one network, and against a naive script."""
    path = as_jpeg(folder)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        zoomed, slid = count(path, Path(out), *GIGAZOOM), count(path, Path(out), *THREE_SCALES)
        looks = [json.loads(each.answer)["inferences"] for each in (zoomed, slid)]
        yield Figure("sliding at three scales / gigazoom: inferences", looks[1] / looks[0], "x", ">= 10", True, True)
        yield Figure("sliding at three scales / gigazoom: wall", slid.seconds / zoomed.seconds, "x", ">= 8", True, True)
    tiles = 4
    naive = run(str(HERE / "naive.py"), str(path), str(tiles))
    took = json.loads(naive.answer)
    whole = took["decode"] + took["tiles"] / took["done"] * took["of"]
    what = f"naive Pillow + CSRNet, {took['of']} tiles"
    yield Figure(f"{what}: wall, from {tiles} tiles", whole, "s")
    yield Figure(f"{what}: wall / gigazoom's", whole / zoomed.seconds, "x", ">= 10", True, True)
    yield Figure(f"{what}: memory / gigazoom's", naive.peak_mb / zoomed.peak_mb, "x", ">= 5", True, True)


def growth(folder: Path) -> Iterator[Figure]:
    """Memory and time against the size of the image, and time against levels and regions."""
    peaks = {}
    for share, times in ((0.5, 0), (1, 1), (1, 2), (1, 4)):
        path = part(folder, share) if times == 0 else repeated(folder, times)
        gigapixels = 0.404 * (share * max(times, 1)) ** 2
        with tempfile.TemporaryDirectory(dir=folder) as out:
            counted = count(path, Path(out), *GIGAZOOM)
        answer = json.loads(counted.answer)
        peaks[gigapixels] = counted.peak_mb
        what = f"tiled TIFF, {gigapixels:.1f} gigapixels"
        yield Figure(f"{what}: wall, {answer['inferences']} looks", counted.seconds, "s")
        yield Figure(f"{what}: wall a look", counted.seconds / answer["inferences"], "s")
        yield Figure(f"{what}: peak memory", counted.peak_mb, "MB", kept=True)
    more = max(peaks.values()) / peaks[0.404] - 1
    yield Figure("peak memory at 6.5 gigapixels above that at 0.4", 100 * more, "%", "<= 5")
    for options in (("--levels", "5"), ("--levels", "20"), ("--clusters", "1"), ("--clusters", "5")):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            counted = count(scene(folder), Path(out), *GIGAZOOM, *options)
        looks = json.loads(counted.answer)["inferences"]
        yield Figure(f"{' '.join(options)}: wall, {looks} looks", counted.seconds, "s")


def startup(folder: Path) -> Iterator[Figure]:
    small = part(folder, 0.05)
    commands = {
        "gigacount --help": (["--help"], "<= 0.3"),
        "gigacount info of a gigapixel scene": (["info", str(scene(folder))], "<= 0.5"),
        "gigacount count of an image of 1345x751, whole run": (
            ["count", str(small), "--out", str(folder / "small"), "--quiet", "--overwrite"],
            "",
        ),
    }
    for name, (arguments, target) in commands.items():
        seconds = min(run("-m", "gigacount", *arguments).seconds for _ in range(5))
        yield Figure(name, seconds, "s", target)
    torch_import = min(run("-c", "import torch").seconds for _ in range(5))
    yield Figure("import torch, alone", torch_import, "s")
    yield Figure("that count / import torch", seconds / torch_import, "x", "<= 1", True)


def localization(folder: Path) -> Iterator[Figure]:
    """`localize --strategy full` against the bare network's pixel rate."""
    path = part(folder, 0.5)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        arguments = ["localize", str(path), "--strategy", "full", "--out", str(Path(out) / "points.csv"), "--json"]
        located = run("-m", "gigacount", *arguments)
        counted = count(path, Path(out), "--strategy", "full")
        report = next(Path(out).rglob("count.json"))
        bare = json.loads(run(str(HERE / "bare.py"), str(path), str(report), "light", "locate").answer)
    yield Figure("localize --strategy full: wall", located.seconds, "s")
    yield Figure("count --strategy full: wall", counted.seconds, "s")
    share = bare["seconds"] / located.seconds
    yield Figure("localize --strategy full: share of the bare network's rate", 100 * share, "%", ">= 80", True, True)
    with GigaImage.open(path) as image:
        everything, canvas = whole(image.size_wh), DensityMap.empty(image.size_wh)
    views = views_with_context(1.0, canvas, StrategyOptions())
    seen = sum(view.with_context(everything).window.pixels for view in views)
    share *= seen / everything.pixels
    yield Figure("the same, of the pixels that the network is shown, context included", 100 * share, "%", ">= 80", True)


SECTIONS = {
    "startup": startup,
    "arithmetic": arithmetic,
    "precision": precision,
    "pipeline": pipeline,
    "field": field,
    "growth": growth,
    "localization": localization,
}
