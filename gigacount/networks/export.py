"""Export: a network's whole prediction as one graph, for OpenVINO's backend or as ONNX for other programs.

A graph takes uint8 images (B, H, W, 3) of any size and gives `density` (B, rows, cols), to be divided by the record's
divisor, and, of networks that locate, `heads` (B, 3, h, w): x, y in pixels and score, which is 0 where no head is.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gigacount.atomic import atomically
from gigacount.errors import UnknownNameError, UsageError, WeightsError
from gigacount.networks import load
from gigacount.networks.backends.openvino import GRAPH_INFO, OpenVINO, import_quietly
from gigacount.networks.record import GraphFile, NetworkRecord, hash_file, write_record

EXAMPLE_SHAPE = (1, 128, 192, 3)  # of the image that is traced; the graph takes any other
OUTPUTS = ("density", "heads")
ONNX_OPSET = 17
OUTSIDE_LAYERS = (r"^aten::.*", r"^__module\.network/.*")
"""Names of a graph's operations that belong to no layer of the network, such as sums of logits. In 8 bits what exceeds
their range in the images to settle on is cut off: dense crowds lost half of their people."""
MIN_PEOPLE = 3.0  # people in an image that says by how much int8 errs


class WholePrediction(nn.Module):
    """uint8 (B, H, W, 3) -> density and, where the network locates, head maps. Raises UsageError where it cannot be."""

    def __init__(self, record: NetworkRecord) -> None:
        super().__init__()
        self.network = load(record)
        if self.network.no_graph:
            raise UsageError(f"network '{record.name}' cannot be exported: {self.network.no_graph}")
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(record.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(record.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        normalised = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        prediction = self.network.predict(normalised, self.network.locates)
        heads = prediction.located
        return (prediction.density, heads) if isinstance(heads, Tensor) else (prediction.density,)


def export_network(
    record: NetworkRecord, backend: str, precision: str, folder: Path, images: Iterable[NDArray[np.uint8]]
) -> Path:
    """Export for `openvino` or as `onnx` to `folder`; the path of record or ONNX file. Raises as `export_openvino`."""
    if backend not in ("openvino", "onnx"):
        raise UnknownNameError("backend to export for", backend, ("openvino", "onnx"))
    if precision not in ("int8", "bf16", "fp32") or (backend == "onnx" and precision != "fp32"):
        has = "int8 and fp32, which also runs in bf16" if backend == "openvino" else "fp32"
        raise UsageError(f"precision for {backend} is {has}, not {precision}")
    shown = list(images)
    if (precision == "int8") != bool(shown):
        raise UsageError("--precision int8 needs images to calibrate on; give --calibrate NAME:PATH")
    if backend == "openvino":
        return (folder / export_openvino(record, folder, shown).weights).with_suffix(".toml")
    path = folder / f"{Path(record.weights).stem}.onnx"
    export_onnx(record, path)
    return path


def export_openvino(record: NetworkRecord, folder: Path, images: Iterable[NDArray[np.uint8]] = ()) -> NetworkRecord:
    """Write the graphs of a record's weights, the weights and the record to `folder`; the record, which names them.

    images (H, W, 3): there is an int8 graph as well if there are any; its ranges, and a factor by which half of them
    have more people in int8 than in fp32, are settled on them. Raises UsageError where the network cannot be exported.
    """
    openvino = tool("openvino")
    whole = WholePrediction(record)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != record.folder.resolve():
        shutil.copyfile(record.weights_path, folder / record.weights)
    record = replace(record, folder=folder, graphs={})
    with traced():
        any_size = openvino.PartialShape([-1, -1, -1, 3])
        model = openvino.convert_model(
            whole, example_input=torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8), input=[any_size]
        )
    for output, name in zip(model.outputs, OUTPUTS, strict=False):
        output.get_tensor().set_names({name})
    model.set_rt_info(record.sha256, list(GRAPH_INFO))
    record = save_graph(model, record, "fp32")
    shown = [np.ascontiguousarray(image) for image in images]
    if shown:
        record = export_int8(model, record, shown, whole.network.exact)
    write_record(record, folder / f"{Path(record.weights).stem}.toml")
    return record


def export_int8(
    model: Any, record: NetworkRecord, images: list[NDArray[np.uint8]], exact_layers: tuple[str, ...]
) -> NetworkRecord:
    """The record with an int8 graph beside its fp32 one, and the density of that scaled to fp32's."""
    quantised = quantise(model, images, exact_layers)
    record = save_graph(quantised, record, "int8")
    exact, quick = (
        np.array([float(backend.see([image], locate=False)[0].sum(dtype=np.float64)) for image in images])
        for backend in (OpenVINO(record, "cpu", "fp32"), OpenVINO(record, "cpu", "int8"))
    )
    peopled = (exact >= MIN_PEOPLE) & (quick > 0)
    if not peopled.any():
        raise WeightsError(
            f"{record.name}: the network sees nobody in the images to calibrate on; give images with people"
        )
    # The middle image's, not that of the totals: those are of a few dense crowds, of which int8 loses most.
    scale_density(quantised, float(np.median(exact[peopled] / quick[peopled])))
    return save_graph(quantised, record, "int8")


def quantise(model: Any, images: list[NDArray[np.uint8]], exact_layers: tuple[str, ...]) -> Any:
    """A graph whose layers, but for the exact ones, work in int8, in the ranges that they have in `images`.

    The biases are corrected layer by layer, in minutes: the quick way saw 2 to 7 % too many people.
    """
    nncf = tool("nncf")
    patterns = [*OUTSIDE_LAYERS, *(rf".*\.network\.{name}/.*" for name in exact_layers)]
    ignored = nncf.IgnoredScope(patterns=patterns, validate=False)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of ranges that an image leaves empty
        return nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in images]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=ignored,
            fast_bias_correction=False,
        )


def scale_density(model: Any, factor: float) -> None:
    opset = tool("openvino").opset13
    result = model.output(0).get_node().input(0)
    scaled = opset.multiply(result.get_source_output(), opset.constant(np.float32(factor))).output(0)
    result.replace_source_output(scaled)
    model.output(0).get_tensor().set_names({OUTPUTS[0]})


def save_graph(model: Any, record: NetworkRecord, precision: str) -> NetworkRecord:
    """Write a graph, what int8 leaves of floats in 16 bits; the record that names it."""
    xml = record.folder / f"{Path(record.weights).stem}.{precision}.xml"
    part = xml.with_name(f"{xml.stem}.part.xml")
    tool("openvino").save_model(model, part, compress_to_fp16=precision == "int8")
    for suffix in (".bin", ".xml"):
        part.with_suffix(suffix).replace(xml.with_suffix(suffix))
    graph = GraphFile(xml.name, hash_file(xml, xml.with_suffix(".bin")))
    return replace(record, graphs=record.graphs | {precision: graph})


def export_onnx(record: NetworkRecord, path: Path) -> None:
    tool("onnx")
    whole = WholePrediction(record)
    names = OUTPUTS[: 1 + whole.network.locates]
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = {0: "batch", 1: "height", 2: "width"}
    with traced(), atomically(path) as fresh:
        torch.onnx.export(
            whole,
            (torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8),),
            fresh,
            input_names=["images"],
            output_names=list(names),
            dynamic_axes={"images": sides, "density": {0: "batch", 1: "rows", 2: "cols"}}
            | ({"heads": {0: "batch", 2: "h", 3: "w"}} if whole.network.locates else {}),
            opset_version=ONNX_OPSET,
            dynamo=False,  # the newer exporter does not take sizes that are padded to a multiple
        )


@contextmanager
def traced() -> Iterator[None]:
    """Tracing warns of every size that becomes a constant; those here hold for inputs of any size."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def tool(name: str) -> Any:
    """A package that exports need, without its telemetry; raises UsageError where it is not installed."""
    try:
        return import_quietly(name)
    except ImportError as error:
        raise UsageError(f"exporting needs {name} ({error}); install it: pip install 'gigacount[export]'") from None
