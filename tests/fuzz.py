"""Mutated files against everything that reads one. Runs as a program, because what it looks for may end its process:

    python tests/fuzz.py KIND,... SEED COUNT FOLDER

prints a JSON object for each kind: how often which outcome, what went wrong, the peak of its memory. The file in the
works is FOLDER/KIND/in/..., and stays there if the process dies.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import random
import re
import resource
import shutil
import socket
import struct
import sys
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import tiny_datasets as tiny
from image_files import save, scene
from processes import memory_bytes
from untrained import untrained_light

from gigacount.batch import CountWork, Item, Progress, Row, Task, runner
from gigacount.batch.work import attempt
from gigacount.batch.workers import Finished, Ready, Report, Worker
from gigacount.cli.batch import Answering, work_through
from gigacount.datasets import ALL, read
from gigacount.errors import EntryError, GigacountError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.image import source
from gigacount.image.georeference import Georeference
from gigacount.image.geotags import georeference_of
from gigacount.networks.record import hash_file
from gigacount.options import BatchOptions, CountOptions, ReadOptions, RegionOptions, StrategyOptions
from gigacount.output.files import process_space
from gigacount.predict import Predictor
from gigacount.regions import read_regions

HANG_SECONDS = 60
MEMORY_BYTES = 6 * 2**30
"""Address space that the process may have on top of what it has after loading: so much and it is a bomb."""

LOOKING = StrategyOptions(levels=1, clusters=1, max_size=(128, 96))
ODD: list[Any] = [None, True, -1, 0, 1.5, 1e308, math.nan, 10**40, "", "x" * 999, "\ud800", [], [[]], {}, "../x"]
EXTREMES = [0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut, flip bits, overwrite, edit the head or the tail, set a word to an extreme, repeat or leave out a piece."""
    data = bytearray(content or b"\0")
    size = len(data)
    kind = rng.randrange(8)
    if kind == 0:
        del data[rng.randrange(size) :]
    elif kind == 1:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(min(size, 400))] = rng.randrange(256)
    elif kind == 3:
        at = rng.randrange(size)
        data[at : at + rng.randrange(1, 2000)] = rng.randbytes(rng.randrange(1, 200))
    elif kind == 4:
        for _ in range(rng.randrange(1, 6)):
            data[-rng.randrange(1, min(size, 600) + 1)] = rng.randrange(256)
    elif kind == 5:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(min(size, rng.choice([64, 600, size])))
            data[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), rng.choice(EXTREMES))
    elif kind == 6:
        at, length = rng.randrange(size), rng.randrange(1, 3000)
        data[at:at] = data[at : at + length] * rng.randrange(1, 3)
    else:
        at = rng.randrange(size)
        del data[at : at + rng.randrange(1, 3000)]
    return with_right_checksum(bytes(data))


def with_right_checksum(data: bytes) -> bytes:
    """A PNG's header is not looked at with a wrong checksum."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 33:
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    return data


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    """The same with another value somewhere, or damaged as any file."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    root = [json.loads(content)]
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(root)
    holder, key = rng.choice(places)
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        1.5,
        1e308,
        float("nan"),
        10**40,
        "",
        "x" * 999,
        "\ud800",
        [],
        [[]],
        {},
        "../x",
    ]
    holder[key] = rng.choice([*odd, [holder[key]], {"a": holder[key]}])
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    text = json.dumps(root[0])
    return b"[" * 100_000 if rng.random() < 0.1 else text.encode()


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
        path.write_bytes(mutated(model.read_bytes(), rng))
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


def mutated_tensors(content: bytes, rng: random.Random) -> bytes:
    """Weights with other numbers, or another header, which is a hundredth of the file."""
    length = struct.unpack("<Q", content[:8])[0]
    head, values = content[8 : 8 + length], bytearray(content[8 + length :])
    kind = rng.randrange(4)
    if kind == 0:
        return mutated(content[: 8 + length], rng) + values
    if kind == 1:
        return mutated(content, rng)
    if kind == 2:
        head = mutated_json(head, rng)
    else:
        for _ in range(rng.randrange(1, 2000)):
            values[rng.randrange(len(values))] = rng.randrange(256)
    return struct.pack("<Q", len(head)) + head + values


def mutated_text(content: bytes, rng: random.Random) -> bytes:
    """Another value in one of the lines, another line, or damaged as any file."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    values = ["-1", "0", "1e999", "nan", "[]", '""', "true", "{}", '"../../x"', "[1, 2, 3]", "12345678901234567890"]
    names = ["stride", "density_divisor", "head_px", "min_score", "fusion_theta", "settings", "errors", "mean", "std"]
    name = lines[at].partition(" = ")[0] if rng.random() < 0.5 else rng.choice([*names, "paper", "about"])
    lines = [line for line in lines if not line.startswith(f"{name} = ")]
    return "\n".join([f"{name} = {rng.choice(values)}", *lines]).encode()


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
        from gigacount.output import ResultFolder

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
        self._reports: list[Report] = [Ready()]

    def most(self) -> int:
        return 1

    def start_worker(self) -> Worker:
        return self

    def give(self, task: Task) -> None:
        self._reports.append(Finished(task.item.key, attempt(self.work, task, None)))

    def reports(self) -> list[Report]:
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
            change = mutated_json if path.suffix == ".json" else mutated
            path.write_bytes(change(path.read_bytes(), rng))
        if path == claim:  # without an owner that can be read, only its age tells that it was left
            os.utime(path, (1, 1))

        def again(as_json: bool = rng.random() < 0.5) -> str:
            said = run(as_json)
            return f"{said}, {run(as_json, overwrite=True)}"

        yield again


def labels(folder: Path, rng: random.Random) -> Attempts:
    """Every label format of every data set, files of points and files of regions."""
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
        "regions.geojson": json.dumps({"type": "FeatureCollection", "features": [feature("Polygon", [SQUARE], "a")]}),
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
        change = TEXT.get(path.suffix, mutated)
        path.write_bytes(change(whole, rng))

        def load(name: str = name, path: Path = path, whole: bytes = whole) -> str:
            try:
                if name:
                    errors: list[EntryError] = []
                    list(read(f"{name}:{sets[name]}", ALL, errors.append))
                    assert not any("\n" in str(error) for error in errors)
                elif path.name.startswith("regions"):
                    read_regions(RegionOptions(path), (96, 64), PLACE)
                else:
                    read_pairs(path, path)
                return f"{path.suffix} read"
            finally:
                path.write_bytes(whole)

        yield load


def georeferences(folder: Path, rng: random.Random) -> Attempts:
    """GeoTIFF tags, world files with their .prj, and .aux.xml."""
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [(34735, "H", len(keys), keys, True), (33550, "d", 3, (0.1, 0.1, 0.0), True)]
    tags += [(33922, "d", 6, (0, 0, 0, 390_000.0, 5_800_000.0, 0), True), (34737, "s", 4, "UTM|", True)]
    image = folder / "in" / "a.tif"
    tifffile.imwrite(image, np.zeros((64, 96), np.uint8), extratags=tags)
    tagged = image.read_bytes()
    tifffile.imwrite(image, np.zeros((64, 96), np.uint8))
    plain = image.read_bytes()
    place = "<GeoTransform>390000, 0.1, 0, 5800000, 0, -0.1</GeoTransform>"
    texts = {
        "a.tfw": "0.1\n0\n0\n-0.1\n390000\n5800000\n",
        "a.prj": 'PROJCS["UTM",GEOGCS["WGS 84"],PROJECTION["TM"],UNIT["metre",1],AUTHORITY["EPSG","32633"]]',
        "a.tif.aux.xml": f'<?xml version="1.0" encoding="UTF-8"?><PAMDataset><SRS>EPSG:32633</SRS>{place}</PAMDataset>',
    }
    encodings = [b"utf-16", b"utf-7", b"shift_jis", b"x", b"idna", b"hex", b"ucs-4"]
    numbers = [b"nan", b"1e400", b"9" * 5000, b"", b"-0", b"0x1", b"1e10", b"1e-300", b"\xd9\xa3"]
    while True:
        name = rng.choice(["a.tif", *texts])
        path = image.parent / name
        whole = tagged if name == "a.tif" else texts[name].encode()
        changed = mutated(whole, rng)
        if name != "a.tif" and rng.random() < 0.7:
            found = rng.choice(list(re.finditer(rb"[-\d.]+", whole)))
            changed = whole[: found.start()] + rng.choice(numbers) + whole[found.end() :]
            changed = changed.replace(b"UTF-8", rng.choice(encodings)) if rng.random() < 0.2 else changed
        path.write_bytes(changed)
        if name == "a.prj":
            path.with_suffix(".tfw").write_text(texts["a.tfw"])

        def load(path: Path = path) -> str:
            try:
                found = georeference_of(image, (96, 64), rng.choice([0, 1, 6, 9]))
                if found is not None:
                    assert np.isfinite(found.to_map(np.array([[0, 0], [96, 64]]))).all()
                    found.summary((96, 64))
                return f"{path.suffix} {'none' if found is None else 'read'}"
            finally:
                for beside in texts:
                    (image.parent / beside).unlink(missing_ok=True)
                image.write_bytes(plain)

        yield load


PLACE = Georeference((1e-4, 0, 13.4, 0, -1e-4, 52.5), "EPSG:4326", True)


def mutated_markup(content: bytes, rng: random.Random) -> bytes:
    """XML, YAML or a table with another value, encoding, entity or depth somewhere, or damaged as any file."""
    odd = [
        b"",
        b"-1",
        b"1e999",
        b"nan",
        b"9" * 5000,
        b"\0",
        b"x" * 5000,
        b"../x",
        b"&#0;",
        b"&a;",
        b"\xff",
        b"[[",
        b"{{",
        b"<x>" * 999,
    ]
    if rng.random() < 0.3:
        return mutated(content, rng)
    if content.startswith(b"<?xml") and rng.random() < 0.2:
        encoding = rng.choice([b"utf-16", b"cp037", b"ascii", b"utf-7", b"big5", b"hex", b"x" * 99])
        head = rng.choice([b"", b"<!DOCTYPE a [<!ENTITY a 'aa'>]>", b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>"])
        return b"<?xml version='1.0' encoding='" + encoding + b"'?>" + head + content.partition(b"?>")[2]
    values = list(re.finditer(rb"[\w.]+", content))
    if not values:
        return rng.choice(odd)
    at = rng.choice(values)
    return content[: at.start()] + rng.choice(odd) + content[at.end() :]


TEXT = {
    ".json": mutated_json,
    ".geojson": mutated_json,
    **dict.fromkeys((".xml", ".yaml", ".csv", ".txt"), mutated_markup),
}

SQUARE = [[0, 0], [50, 0], [50, 40], [0, 40], [0, 0]]


def feature(kind: str, coordinates: object, name: str) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {"image": name, "score": 0.5}, "geometry": geometry}


KINDS = {"georeferences": georeferences, "pictures": pictures, "weights": weights, "results": results, "labels": labels}


def fuzz(kind: str, seed: int, count: int, folder: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    for name in ("in", "scratch"):
        (folder / name).mkdir(parents=True)
    attempts = KINDS[kind](folder, rng)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    problems: list[str] = []
    for number in range(count):
        one = next(attempts)
        if number == 0:
            limit_memory()
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
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
    faulthandler.cancel_dump_traceback_later()
    peak = memory_bytes()[0]
    common = dict(reasons.most_common(20))
    return {"outcomes": dict(sorted(outcomes.items())), "reasons": common, "problems": problems, "peak_bytes": peak}


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
