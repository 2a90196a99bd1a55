"""Mutated files against everything that reads one. Runs as a program, because what it looks for may end its process:

    python tests/fuzz.py KIND,... SEED COUNT FOLDER

prints a JSON object for each kind: how often which outcome, what went wrong, the peak of its memory. The file in the
works is FOLDER/KIND/in/..., and stays there if the process dies.
"""

from __future__ import annotations

import faulthandler
import inspect
import json
import os
import random
import re
import resource
import shutil
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import tiny_datasets as tiny
import torch
from image_files import save, scene
from mutations import mutated, mutated_file, mutated_json, mutated_markup, mutated_tensors, mutated_text, mutated_tiff
from processes import memory_bytes
from safetensors.torch import save_file
from untrained import untrained_light

from gigacount.ablate.measure import LevelShare, Measurement
from gigacount.ablate.run import MeasurementFile
from gigacount.atomic import process_space
from gigacount.batch import CountWork, Item, Progress, Row, Task, runner
from gigacount.batch.work import Finished, Ready, Worker, WorkerReport, attempt
from gigacount.cli.batch import Answering, work_through
from gigacount.datasets import ALL, read
from gigacount.density import DensityMap
from gigacount.errors import EntryError, GigacountError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.image import source
from gigacount.image.georeference import WGS84, Georeference, transform
from gigacount.image.geotags import georeference_of
from gigacount.networks import NETWORKS, build, find_class
from gigacount.networks.convert import read_tensors, unwrapped
from gigacount.networks.record import hash_file
from gigacount.networks.settings import read_settings
from gigacount.networks.weights import belonging
from gigacount.options import BatchOptions, CountOptions, ReadOptions, RegionOptions, StrategyOptions
from gigacount.output.writers import geo_tags
from gigacount.predict import Predictor
from gigacount.regions import read_regions
from gigacount.train.checkpoint import Position, load_checkpoint, save_checkpoint
from gigacount.train.log import Log

HANG_SECONDS = 300
"""After which a file that is still worked on ends the program: it waits for something that does not come."""

SLOW_SECONDS = 20
"""Of processor time, so that a busy machine does not count: so much for one small file is a problem."""
MEMORY_BYTES = 6 * 2**30
"""Address space that the process may have on top of what it has after loading: so much and it is a bomb."""

LOOKING = StrategyOptions(levels=1, clusters=1, max_size=(128, 96))


# ---- what is fuzzed: each makes its files once, then yields one attempt after the other


Attempts = Iterator[Callable[[], str]]


def network(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return untrained_light(folder)


def picture_files(folder: Path) -> list[Path]:
    folder.mkdir()
    pixels = scene(300, 200)
    tiled = {"tile": True, "tile_width": 64, "tile_height": 64}
    files = [
        save(pixels, folder / "plain.jpg"),
        save(pixels, folder / "progressive.jpg", interlace=True),
        save(pixels, folder / "turned.jpg", orientation=6),
        save(pixels, folder / "plain.png", compression=1),
        save(pixels, folder / "interlaced.png", compression=1, interlace=True),
        save(pixels, folder / "plain.webp", effort=0),
        save(pixels, folder / "pyramid.tif", pyramid=True, compression="deflate", **tiled),
        save(pixels, folder / "tiled-jpeg.tif", compression="jpeg", **tiled),
        save(pixels, folder / "big.tif", bigtiff=True, compression="lzw", **tiled),
        save(pixels, folder / "strips.tif", compression="lzw"),
        save(pixels, folder / "bare.tif"),
        save(pixels[:100, :100].copy(), folder / "small.gif"),
        folder / "zstd.tif",
    ]
    tifffile.imwrite(files[-1], pixels, tile=(64, 64), compression="zstd", photometric="rgb")
    return files


def pictures(folder: Path, rng: random.Random) -> Attempts:
    """Counting and locating, each in its result folder."""
    source.REDUCED_PIXELS = 20_000  # so that pictures this small are streamed into a scratch file, too
    record, files = network(folder / "network"), picture_files(folder / "models")
    works = []
    for allow in (False, True):
        reading = ReadOptions(allow_damaged=allow, max_pixels=10_000_000, scratch_folder=folder / "scratch")
        options = CountOptions(network=str(record), looking=LOOKING, reading=reading)
        works += [CountWork(options, ("tif", "overlay")), CountWork(options, ("csv", "overlay"), locate=True)]
    for work in works:
        work.prepare(lambda message: None)
    while True:
        model, work = rng.choice(files), rng.choice(works)
        path = folder / "in" / model.name
        path.write_bytes(mutated_file(path.suffix, model.read_bytes(), rng))
        item = Item(path, model.name, folder / "out" / f"{model.name}.gigacount")

        def count(work: CountWork = work, item: Item = item) -> str:
            row = attempt(work, Task(item, replace=True), None)
            if not row.failed:
                assert work.earlier(item) == row
                return f"{item.path.suffix} {work.done}"
            assert item.name in row.message, row.message
            assert len(row.message) < 600, row.message
            return f"{item.path.suffix} refused"

        yield count


def weights(folder: Path, rng: random.Random) -> Attempts:
    """Weights and records, the hash made right as whoever wants to harm would do it."""
    record = network(folder / "network")
    pixels = scene(96, 64)
    while True:
        place = folder / "in" / "tiny.toml"
        tensors, text = record.with_suffix(".safetensors").read_bytes(), record.read_bytes()
        if rng.random() < 0.5:
            tensors = mutated_tensors(tensors, rng)
        else:
            text = mutated_text(text, rng)
        place.with_suffix(".safetensors").write_bytes(tensors)
        if rng.random() < 0.9:
            text = text.replace(hash_file(record.with_suffix(".safetensors")).encode(), b"HASH")
            text = text.replace(b"HASH", hash_file(place.with_suffix(".safetensors")).encode())
        place.write_bytes(text)

        def load() -> str:
            predictor = Predictor(str(folder / "in" / "tiny.toml"), "cpu", "fp32")
            (found,) = predictor.predict([pixels], locate=True)
            assert np.isfinite(found.density).all()
            return "loaded"

        yield load


class Quick(CountWork):
    """Counting that copies a finished result: what is fuzzed is what is remembered."""

    def __init__(self, options: CountOptions, template: dict[str, Any]) -> None:
        super().__init__(options, ())
        self.template = template

    def prepare(self, say: object) -> None:
        """Nothing is loaded."""

    def process(self, task: Task, progress: Progress | None) -> Row:
        from gigacount.batch.work import count_row
        from gigacount.key import image_identity
        from gigacount.output.folder import ResultFolder

        image = self.template["image"] | image_identity(task.item.path) | {"path": str(task.item.path.absolute())}
        content = self.template | {"image": image}
        with ResultFolder(task.item.folder).replacing() as fresh:
            (fresh / "count.json").write_text(json.dumps(content))
        return count_row(task.item, content)


class Inline:
    """An engine and its only worker, without processes."""

    capacity, retry_elsewhere, node = 1, False, ""

    def __init__(self, work: CountWork, options: BatchOptions) -> None:
        self.work = work
        self._reports: list[WorkerReport] = [Ready()]

    def most(self) -> int:
        return 1

    def start_worker(self) -> Worker:
        return self

    def give(self, task: Task) -> None:
        self._reports.append(Finished(task.item.key, attempt(self.work, task, None)))

    def reports(self) -> list[WorkerReport]:
        said, self._reports = self._reports, []
        return said

    def wait(self, *_: object) -> None: ...
    def lost(self) -> None: ...
    def ask_to_stop(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


def results(folder: Path, rng: random.Random) -> Attempts:
    """What a batch finds in its output folder: results, records, claims, notes."""
    record, names = network(folder / "network"), ("a.jpg", "b.jpg", "c.png")
    options = CountOptions(network=str(record), looking=LOOKING)
    photos = folder / "in"
    for name in names:
        save(scene(96, 64), photos / name)
    real = CountWork(options, ())
    real.prepare(lambda message: None)
    item = Item(photos / "a.jpg", "a.jpg", folder / "models")
    assert not attempt(real, Task(item, True), None).failed
    work = Quick(options, json.loads((folder / "models" / "count.json").read_text()))
    runner.make_engine = lambda work, options: Inline(work, options)  # type: ignore[arg-type, return-value]
    batch = BatchOptions(out=folder / "out")

    def run(as_json: bool, overwrite: bool = False) -> str:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            again = BatchOptions(out=folder / "out", overwrite=overwrite)
            code = work_through([photos], work, again, Answering(as_json=as_json))
        assert code in (0, 1), code
        assert "Traceback" not in err.getvalue()
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert all(set(row) >= {"path", "count", "status"} for row in summary["images"])
        return f"exit {code}"

    while True:
        assert batch.out is not None
        shutil.rmtree(batch.out, ignore_errors=True)
        run(False)
        files = [path for path in batch.out.rglob("*") if path.is_file()]
        claim = batch.out / ".gigacount" / "claims" / f"{rng.choice(files).stem}.claim"
        if rng.random() < 0.2:
            here = {"host": socket.gethostname(), "space": process_space()}
            claim.write_text(json.dumps(here | {"pid": rng.choice([1, -5, 10**30, "x", None])}))
            os.utime(claim, (1, 1))
            files = [claim]
        path = rng.choice(files)
        if path != claim and rng.random() < 0.1:
            path.unlink()
            rng.choice([path.mkdir, lambda path=path: path.symlink_to(folder / "models" / "count.json")])()
        else:
            path.write_bytes(mutated_file(path.suffix, path.read_bytes(), rng))
        if path == claim:  # without an owner that can be read, only its age tells that it was left
            os.utime(path, (1, 1))

        def again(as_json: bool = rng.random() < 0.5) -> str:
            said = run(as_json)
            return f"{said}, {run(as_json, overwrite=True)}"

        yield again


def labels(folder: Path, rng: random.Random) -> Attempts:
    """Every label format of every data set, and files of points."""
    sets = {name: write(folder / "in" / name) for name, write in tiny.TINY.items() if name != "people-free"}
    (sets["yolo"] / "data.yaml").write_text("names: [car, person]\nkpt_shape: [1, 3]\n")
    points = folder / "in" / "points"
    points.mkdir()
    texts = {
        "truth.json": json.dumps(
            {
                "images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "b"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
                "categories": [{"id": 1, "name": "head"}],
            }
        ),
        "truth.txt": "a 2 1 2 3 4 0 5 6 3 4 1\nb 0\n",
        "truth.csv": "image,x,y,width,height\na,1,2,3,4\nb,,\n",
        "truth.geojson": json.dumps({"type": "FeatureCollection", "features": [feature("Point", [1, 2], "a")]}),
    }
    for name, text in texts.items():
        (points / name).write_text(text)
    while True:
        if rng.random() < 0.75:
            name = rng.choice(sorted(sets))
            path = rng.choice(sorted(tiny.label_files(sets[name])))
        else:
            name, path = "", points / rng.choice(sorted(texts))
        whole = path.read_bytes()
        path.write_bytes(mutated_file(path.suffix, whole, rng))

        def load(name: str = name, path: Path = path, whole: bytes = whole) -> str:
            try:
                if name:
                    errors: list[EntryError] = []
                    list(read(f"{name}:{sets[name]}", ALL, errors.append))
                    assert not any("\n" in str(error) for error in errors)
                else:
                    read_pairs(path, path)
                return f"{path.suffix} read"
            finally:
                path.write_bytes(whole)

        yield load


def regions(folder: Path, rng: random.Random) -> Attempts:
    """Polygons with holes and of several parts, in pixels and of a map, and what is counted in them."""
    path, density = folder / "in" / "regions.geojson", DensityMap.empty((96, 64))
    density.cells[:] = 0.01
    hole, far = [[10, 10], [20, 10], [20, 20], [10, 10]], [[60, 0], [90, 0], [90, 40], [60, 0]]
    shapes = [feature("Polygon", [SQUARE, hole], "a"), feature("MultiPolygon", [[SQUARE, hole], [far]], "b")]
    wgs84 = [feature("Polygon", [[[13.4 + x / 1e4, 52.5 - y / 1e4] for x, y in SQUARE]], "c")]
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}
    whole = [
        {"type": "FeatureCollection", "features": shapes},
        {"type": "FeatureCollection", "features": wgs84, "crs": named},
        {"type": "FeatureCollection", "features": [*shapes, *shapes], "crs": {"properties": {"name": "pixels"}}},
    ]
    points_xy = np.array([[15, 15], [30, 10], [70, 5], [95, 63]], np.float32)
    while True:
        path.write_bytes(mutated_json(json.dumps(rng.choice(whole)).encode(), rng))
        reference = rng.choice([PLACE, None])

        def count(reference: Georeference | None = reference) -> str:
            found = read_regions(RegionOptions(path), (96, 64), reference)
            counted = found.measure(density, points_xy)
            assert all(-1e-6 <= one.count <= 1 and one.region.area_px > 0 for one in counted)
            assert not any(control in one.region.name for one in counted for control in "\n\x1b\0")
            return f"in {found.coordinates}"

        yield count


KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
GEO_TAGS = [(34735, "H", len(KEYS), KEYS, True), (33550, "d", 3, (0.1, 0.1, 0.0), True)]
GEO_TAGS += [(33922, "d", 6, (0, 0, 0, 390_000.0, 5_800_000.0, 0), True), (34737, "s", 4, "UTM|", True)]
ESRI = 'ESRI PE String = PROJCS["UTM",GEOGCS["WGS 84"],UNIT["metre",1]]|'
OTHER_GEO_TAGS = [(34264, "d", 16, (0.1, 0, 0, 390_000.0, 0, -0.1, 0, 5_800_000.0, *[0] * 7, 1), True)]
OTHER_GEO_TAGS += [(34735, "H", 8, (1, 1, 0, 1, 3073, 34737, len(ESRI), 0), True), (34736, "d", 2, (1.5, 2.5), True)]
OTHER_GEO_TAGS += [(34737, "s", len(ESRI), ESRI, True)]


def georeferences(folder: Path, rng: random.Random) -> Attempts:
    """The tags of a GeoTIFF: tie point and scale, or a matrix; of either size of offsets and byte order."""
    image = folder / "in" / "a.tif"
    models = []
    for number, tags in enumerate([GEO_TAGS, OTHER_GEO_TAGS, GEO_TAGS]):
        order = "<>"[number == 2]
        tifffile.imwrite(image, np.zeros((64, 96), np.uint8), extratags=tags, bigtiff=number == 1, byteorder=order)
        models.append(image.read_bytes())
    while True:
        image.write_bytes(mutated_tiff(rng.choice(models), rng))
        yield lambda: locate_on_earth(image, rng)


def sidecars(folder: Path, rng: random.Random) -> Attempts:
    """World files with their .prj, and .aux.xml, beside a picture without tags of its own."""
    image = folder / "in" / "a.tif"
    tifffile.imwrite(image, np.zeros((64, 96), np.uint8))
    wkt = 'PROJCS["UTM",GEOGCS["WGS 84"],PROJECTION["TM"],UNIT["metre",1],AUTHORITY["EPSG","32633"]]'
    place = "<GeoTransform>390000, 0.1, 0, 5800000, 0, -0.1</GeoTransform>"
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    texts = {
        "a.tfw": "0.1\n0\n0\n-0.1\n390000\n5800000\n",
        "a.prj": wkt,
        "a.tif.aux.xml": f'{head}<PAMDataset><SRS dataAxisToSRSAxisMapping="1,2">EPSG:32633</SRS>{place}</PAMDataset>',
    }
    while True:
        name = rng.choice(sorted(texts))
        path = image.parent / name
        path.write_bytes(mutated_markup(texts[name].encode(), rng))
        if name == "a.prj":
            path.with_suffix(".tfw").write_text(texts["a.tfw"])

        def load(path: Path = path) -> str:
            try:
                return f"{path.suffix} {locate_on_earth(image, rng)}"
            finally:
                for beside in texts:
                    (image.parent / beside).unlink(missing_ok=True)

        yield load


def locate_on_earth(image: Path, rng: random.Random) -> str:
    """Read a georeference and do with it all that a count does."""
    found = georeference_of(image, (96, 64), rng.choice([0, 1, 6, 9]))
    if found is None:
        return "none"
    corners = found.to_map(np.array([[0, 0], [96, 64]]))
    assert np.isfinite(corners).all()
    assert "\n" not in found.summary((96, 64))
    tifffile.imwrite(BytesIO(), np.zeros((8, 12), np.uint8), extratags=geo_tags(found.scaled(8)))
    if found.crs is not None and rng.random() < 0.3:
        transform(corners, found.crs, WGS84)
        return "read, converted"
    return "read"


PLACE = Georeference((1e-4, 0, 13.4, 0, -1e-4, 52.5), "EPSG:4326", True)


def settings(_: Path, rng: random.Random) -> Attempts:
    """Settings of networks as users write them, up to the network that is built of them, without its memory."""
    values = ["-1", "0", "1e999", "nan", "[]", '""', "true", "{}", "[1, 2, 3]", "9" * 30, "9" * 5000, "4000000", "1.5"]
    values += [
        "[" * 9000,
        "a." * 9000 + "a=1",
        "{a = {a = 1}}",
        "\0",
        "\ud800",
        "x" * 5000,
        "1\nb = 2",
        "0x7f",
        "64",
        "3",
    ]
    sound = ["3", "64", "128", "true", "A", "even", "likelihood", "[256, 256]", "1.5"]
    known = {name: list(inspect.signature(find_class(name)).parameters) for name in sorted(NETWORKS)}
    while True:
        name = rng.choice([name for name in known if known[name]] * 4 + list(known))
        chosen = [rng.choice([*known[name] * 4, "x", "", "self"]) for _ in range(rng.choice([1, 1, 1, 2]))]
        given = [f"{one}={rng.choice(sound if rng.random() < 0.5 else values)}" for one in chosen]
        given += ["width"] if rng.random() < 0.05 else []

        def construct(name: str = name, given: list[str] = given) -> str:
            found = read_settings(name, given)
            with torch.device("meta"):
                build(name, **found)
            return f"{name} built"

        yield construct


def published(folder: Path, rng: random.Random) -> Attempts:
    """Weights as others publish them: a checkpoint of torch, an archive of arrays, safetensors."""
    whole = read_tensors(network(folder / "network").with_suffix(".safetensors"))
    few = dict(list(whole.items())[:8])
    place = folder / "models"
    place.mkdir()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in few.items()}}, place / "m.pth")
    torch.save(few, place / "old.pth", _use_new_zipfile_serialization=False)
    np.savez(place / "m.npz", **{name: tensor.numpy() for name, tensor in few.items()})
    save_file(few, place / "m.safetensors")
    models = sorted(place.iterdir())
    while True:
        model = rng.choice(models)
        path = folder / "in" / model.name
        path.write_bytes(mutated_file(model.suffix, model.read_bytes(), rng))

        def load(path: Path = path) -> str:
            belonging(unwrapped(read_tensors(path)))
            return f"{path.name} read"

        yield load


GRID = [[0.5] * 8] * 8


def runs(folder: Path, rng: random.Random) -> Attempts:
    """What a training run or an ablation that was stopped goes on from: a checkpoint, a log, measurements."""
    place = folder / "in"
    state = {"position": vars(Position(step=3)), "run": "{}", "network": {"a": torch.zeros(3)}}
    save_checkpoint(place, state)
    line = json.dumps(
        Measurement("k", "a.jpg", 3.0, 2.5, GRID, GRID, 1, 64, 0.5, (LevelShare(0, 1.0, 1.0, 3, 2.5, None),)).as_dict()
    )
    texts = {"log.jsonl": '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n', "measured.jsonl": f"{line}\n"}
    wholes = {"checkpoint.pt": (place / "checkpoint.pt").read_bytes()} | {a: b.encode() for a, b in texts.items()}
    while True:
        for name, whole in wholes.items():
            (place / name).write_bytes(whole)
        name = rng.choice(sorted(wholes))
        lines = wholes[name].splitlines(keepends=True)
        changed = mutated(wholes[name], rng)
        if name.endswith("jsonl") and rng.random() < 0.7:
            changed = mutated_json(lines[0], rng) + b"\n" + b"".join(lines[1:])
        (place / name).write_bytes(changed)

        def resume(name: str = name) -> str:
            if name == "checkpoint.pt":
                load_checkpoint(place)
            elif name == "log.jsonl":
                Log(place, print, 1)
            else:
                MeasurementFile(place)
            return f"{name} read"

        yield resume


SQUARE = [[0, 0], [50, 0], [50, 40], [0, 40], [0, 0]]


def feature(kind: str, coordinates: object, name: str) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {"image": name, "score": 0.5}, "geometry": geometry}


KINDS: dict[str, Callable[[Path, random.Random], Attempts]] = {
    "pictures": pictures,
    "sidecars": sidecars,
    "georeferences": georeferences,
    "regions": regions,
    "labels": labels,
    "weights": weights,
    "published": published,
    "settings": settings,
    "results": results,
    "runs": runs,
}
"""The doors: what is read from a file, or from words, that others may have made."""


def fuzz(kind: str, seed: int, count: int, folder: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    for name in ("in", "scratch"):
        (folder / name).mkdir(parents=True)
    attempts = KINDS[kind](folder, rng)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    problems: list[str] = []
    slowest = 0.0
    for number in range(count):
        one = next(attempts)
        if number == 0:
            limit_memory()
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        began = time.process_time()
        try:
            outcomes[one()] += 1
        except GigacountError as error:
            outcomes["refused"] += 1
            reasons[re.sub(r".*?: ", "", str(error), count=1)[:40]] += 1
            if "\n" in str(error):
                problems.append(f"{number}: {error}")
        except Exception:
            problems.append(f"{number}: {traceback.format_exc(limit=-6)}")
            keep(folder, number)
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > SLOW_SECONDS:
            problems.append(f"{number}: took {took:.0f} s")
            keep(folder, number)
    faulthandler.cancel_dump_traceback_later()
    peak = memory_bytes()[0]
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "reasons": dict(reasons.most_common(20)),
        "problems": problems,
        "peak_bytes": peak,
        "slowest_seconds": round(slowest, 2),
    }


def limit_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, resource.RLIM_INFINITY))


def keep(folder: Path, number: int) -> None:
    """Keep the files of an attempt that went wrong."""
    shutil.copytree(folder / "in", folder / "kept" / str(number), symlinks=True, dirs_exist_ok=True)


def main() -> None:
    faulthandler.enable()
    warnings.simplefilter("error")
    kinds, seed, count, folder = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    print(json.dumps({kind: fuzz(kind, seed, count, folder / kind) for kind in kinds}))


if __name__ == "__main__":
    main()
