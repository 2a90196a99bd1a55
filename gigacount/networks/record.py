"""A network's record: what must be known to use its weights, and what was measured with them. Free of torch."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any

from gigacount.atomic import atomically
from gigacount.errors import UsageError, WeightsError
from gigacount.resolution import Resolution

PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin", ".tar")
PICKLE_BYTES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04")  # torch's zip of a pickle, and bare pickles


MAX_BYTES = 1 << 20
DEPTH = 16
KEY = r"""(?:"(?:\\.|[^"\\\n])*+"|'[^'\n]*+'|[\w-]++)[ \t]*+"""
NESTED_KEY = re.compile(rf"(?<![\w-])(?:{KEY}\.[ \t]*+){{{DEPTH}}}")
"""Keys a.b.c ...: tomllib takes memory for the square of their parts, a gigabyte for 16,000."""
GRAPHS = ("fp32", "int8")

KINDS: tuple[tuple[str, type | UnionType, str], ...] = (
    *((name, str, "text") for name in ("name", "network", "weights", "sha256", "paper", "licence", "about")),
    ("stride", int, "a whole number"),
    *((name, int | float, "a number") for name in ("density_divisor", "enlarge", "min_score")),
    *((name, dict, "a table") for name in ("settings", "graphs", "training", "resolution", "cost")),
    ("errors", list, "a list of tables"),
)
"""What the fields of a record must be, besides those of several numbers."""


@dataclass(frozen=True)
class GraphFile:
    """The whole prediction as OpenVINO's IR.

    file: an .xml beside the record; its constants are in the .bin of the same name. sha256: of both, the .xml first.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class NetworkRecord:
    """The content of `models/<name>.toml`.

    name: what `--network` takes. network: its entry in NETWORKS. weights: safetensors file beside the record, and
    sha256 its hash. mean, std: of the RGB input scaled to 0..1. stride: input pixels per side of a density cell.
    density_divisor: what the density output is divided by to give people. head_px: smallest and largest head diameter
    in input pixels that the network works on. enlarge: how many times an image that one look holds is enlarged to see
    its people again, and min_score: threshold of its points, None when it does not locate; both chosen on validation
    data.
    fusion_theta: people in each of 4 x 4 parts of an input from which two-stream fusion trusts
    the density alone, fitted on training data; None is never. resolution: how large people must be seen, and how far
    counts are off. settings: arguments of the network's constructor.
    graphs: of these weights and settings, by precision: "fp32", which also runs in bf16, and "int8".
    training, errors, cost: free tables: data, recipe, hours; measured errors by kind of image, with date; parameters,
    multiply-accumulates a pixel and seconds a megapixel.
    """

    name: str
    network: str
    weights: str
    sha256: str
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    stride: int = 8
    density_divisor: float = 1.0
    head_px: tuple[float, float] = (4.0, 200.0)
    enlarge: float = 1.0
    min_score: float | None = None
    fusion_theta: tuple[float, ...] | None = None
    resolution: Resolution | None = None
    paper: str = ""
    licence: str = ""
    about: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    graphs: dict[str, GraphFile] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    folder: Path = Path()

    @property
    def weights_path(self) -> Path:
        return self.folder / self.weights

    def graph_paths(self, precision: str) -> tuple[Path, Path]:
        """The .xml and the .bin of a graph."""
        path = self.folder / self.graphs[precision].file
        return path, path.with_suffix(".bin")


def read_record(path: Path) -> NetworkRecord:
    """Read `<name>.toml`; raises WeightsError where it is missing, no TOML, or lacks or misspells a field."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
        if len(text) > MAX_BYTES or NESTED_KEY.search(text):
            raise WeightsError(f"{path}: not a network record: it is too large, or has keys of more than {DEPTH} parts")
        content = tomllib.loads(text)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the network's record: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8, and numbers of more digits than Python reads
        raise WeightsError(f"{path}: not a network record (TOML): {error}") from error
    known = {f.name for f in fields(NetworkRecord)} - {"folder"}
    unknown, missing = set(content) - known, {"name", "network", "weights", "sha256"} - set(content)
    if unknown or missing:
        faults = [f"unknown field '{name}'" for name in sorted(unknown)] + [f"no '{name}'" for name in sorted(missing)]
        raise WeightsError(f"{path}: not a network record: {', '.join(faults)}")
    for name, length in (("mean", 3), ("std", 3), ("head_px", 2), ("fusion_theta", 16)):
        values = content.get(name, [0] * length)
        if not isinstance(values, list) or len(values) != length or not all(isinstance(v, int | float) for v in values):
            raise WeightsError(f"{path}: '{name}' must be {length} numbers, not {values}")
        if name in content:
            content[name] = tuple(float(v) for v in values)
        if not all(math.isfinite(value) for value in values):
            raise WeightsError(f"{path}: '{name}' must be finite numbers, not {values}")
    for name, kind, words in KINDS:
        if name in content and not (isinstance(content[name], kind) and not isinstance(content[name], bool)):
            raise WeightsError(f"{path}: '{name}' must be {words}, not {content[name]!r:.60}")
    divisor, stride = content.get("density_divisor", 1), content.get("stride", 1)
    if not (0 < divisor < math.inf and 0 < stride < 1024):
        raise WeightsError(f"{path}: stride and density_divisor must be above 0, not {stride} and {divisor}")
    content["graphs"] = read_graphs(path, content.get("graphs", {}))
    if Path(content["weights"]).name != content["weights"]:
        raise WeightsError(f"{path}: weights must name a file beside the record, not '{content['weights']}'")
    try:
        if "resolution" in content:
            content["resolution"] = Resolution.of(content["resolution"])
    except UsageError as error:
        raise WeightsError(f"{path}: {error}") from error
    return NetworkRecord(**content, folder=path.parent)


def read_graphs(path: Path, tables: dict[str, Any]) -> dict[str, GraphFile]:
    """The `[graphs.*]` tables of the record at `path`; raises WeightsError where they are not what they must be."""
    graphs: dict[str, GraphFile] = {}
    for precision, table in tables.items():
        fine = isinstance(table, dict) and set(table) == {"file", "sha256"}
        if precision not in GRAPHS or not fine or not all(isinstance(value, str) for value in table.values()):
            names = " or ".join(f"[graphs.{name}]" for name in GRAPHS)
            raise WeightsError(
                f"{path}: a graph is a table {names} of 'file' and 'sha256', not {precision} {table!r:.60}"
            )
        if Path(table["file"]).name != table["file"] or not table["file"].endswith(".xml"):
            raise WeightsError(f"{path}: a graph's file must be an .xml beside the record, not '{table['file']}'")
        graphs[precision] = GraphFile(**table)
    return graphs


def refuse_pickle(path: Path) -> None:
    """Raise WeightsError where `path` is a pickle, by its name or its first bytes: loading one can run anything."""
    pickled = path.suffix in PICKLES
    if not pickled and path.is_file():
        with path.open("rb") as file:
            pickled = file.read(4).startswith(PICKLE_BYTES)
    if pickled:
        raise WeightsError(
            f"{path}: this is a pickle, which could run a program when loaded; make safetensors of it, safely, with "
            f"gigacount networks convert {path} --network NAME"
        )


def write_record(record: NetworkRecord, path: Path) -> None:
    """Write a record as TOML, atomically; fields that hold nothing are left out."""
    values = {f.name: getattr(record, f.name) for f in fields(NetworkRecord) if f.name != "folder"}
    values["resolution"] = record.resolution and asdict(record.resolution)
    plain = {name: value for name, value in values.items() if value not in (None, "", {}, [])}
    free = ("settings", "training", "resolution", "cost")
    tables: dict[str, dict[str, Any]] = {name: plain.pop(name) for name in free if name in plain}
    graphs: dict[str, GraphFile] = plain.pop("graphs", {})
    tables |= {f"graphs.{precision}": vars(graph) for precision, graph in graphs.items()}
    rows = plain.pop("errors", [])
    lines = [f"{name} = {toml_value(value)}" for name, value in plain.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    for row in rows:
        lines += ["", "[[errors]]", *(f"{key} = {toml_value(value)}" for key, value in row.items())]
    with atomically(path) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")


def toml_value(value: object) -> str:
    """Text, numbers, booleans and lists of them as TOML; JSON's notation of these is TOML's."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def hash_file(*paths: Path) -> str:
    """SHA-256 of files one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_hash(paths: Sequence[Path], expected: str) -> None:
    """Refuse weights or a graph that are missing or are not those that the record was written for: WeightsError."""
    try:
        digest = hash_file(*paths)
    except OSError as error:
        raise WeightsError(f"{error.filename}: cannot read the weights: {error.strerror}") from error
    if digest != expected:
        raise WeightsError(
            f"{paths[0]}: these are not the weights of its record (SHA-256 {digest[:12]}…, expected "
            f"{expected[:12]}…); install them again, or write the new hash if you changed them on purpose"
        )
