"""Backends: what runs a network, and that OpenVINO says what PyTorch says without importing it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from PIL import Image
from torch import nn
from untrained import fresh_light

from gigacount.errors import GigacountError, UsageError, WeightsError
from gigacount.networks import NETWORKS, backends, build
from gigacount.networks.backends import choose_backend
from gigacount.networks.backends import openvino as ours
from gigacount.networks.base import Network
from gigacount.networks.export import (
    EXAMPLE_SHAPE,
    WholePrediction,
    export_network,
    export_onnx,
    export_openvino,
    quantise,
)
from gigacount.networks.light import Light
from gigacount.networks.record import NetworkRecord, hash_file, read_record, write_record
from gigacount.networks.weights import save_weights
from gigacount.predict import Predictor

SHAPES = ((128, 64), (101, 67))


def made_record(folder: Path, network: str, made: Network | None = None) -> NetworkRecord:
    """Fresh weights of a network with a record, such that batch norm and the last layers do something."""
    torch.manual_seed(0)
    made = made or (fresh_light() if network == "light" else build(network))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    save_weights(made, folder / "mine.safetensors")
    weights = folder / "mine.safetensors"
    record = NetworkRecord("mine", network, weights.name, hash_file(weights), stride=made.stride, folder=folder)
    write_record(record, folder / "mine.toml")
    return record


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width])


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of fresh weights of the light network, with its fp32 graph."""
    folder = tmp_path_factory.mktemp("light")
    export_openvino(made_record(folder, "light"), folder)
    return folder / "mine.toml"


@pytest.fixture(scope="module")
def mcnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of fresh weights of MCNN with graphs in fp32 and int8."""
    folder = tmp_path_factory.mktemp("mcnn")
    made = build("mcnn")
    nn.init.constant_(made.get_parameter("density.weight"), 0.001)  # fresh, it may count fewer than nobody
    export_openvino(made_record(folder, "mcnn", made), folder, [picture(64, 96, seed) for seed in range(3)])
    return folder / "mine.toml"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "gpu_possible", lambda: False)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_exports_or_says_why_not(network: str, tmp_path: Path) -> None:
    record = made_record(tmp_path, network)
    if build(network).no_graph:
        with pytest.raises(UsageError, match=r"'mine' cannot be exported: it"):
            export_openvino(record, tmp_path)
        return
    record = export_openvino(record, tmp_path)
    assert read_record(tmp_path / "mine.toml") == record
    whole = WholePrediction(record).eval()
    compiled = openvino.Core().compile_model(tmp_path / "mine.fp32.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in SHAPES:
        pixels = picture(height, width)[None]
        with torch.no_grad():
            expected = whole(torch.from_numpy(pixels))
        found = list(compiled([pixels]).values())
        assert len(found) == len(expected)
        scale = float(expected[0].abs().max())
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-3 * scale)
        assert found[0].sum() == pytest.approx(float(expected[0].sum()), rel=1e-3)


def test_onnx_is_the_same_graph(tmp_path: Path) -> None:
    record = made_record(tmp_path, "light")
    path = export_network(record, "onnx", "fp32", tmp_path / "out", [])
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pixels = picture(*SHAPES[1])[None]
    with torch.no_grad():
        density, heads = WholePrediction(record).eval()(torch.from_numpy(pixels))
    found = compiled([pixels])
    np.testing.assert_allclose(found["density"], density, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["heads"][:, 2], heads[:, 2], atol=1e-3)


def test_both_backends_count_and_locate_alike(light: Path) -> None:
    one, two = (Predictor(str(light), "cpu", "fp32", backend=name) for name in ("torch", "openvino"))
    assert (one.backend, one.precision, one.locates) == ("torch", "fp32", True)
    assert (two.backend, two.device, two.precision, two.locates) == ("openvino", "cpu", "fp32", True)
    (expected,), (found,) = (predictor.predict([picture(128, 256)], locate=True) for predictor in (one, two))
    assert expected.density.sum() > 0
    np.testing.assert_allclose(found.density, expected.density, rtol=1e-3, atol=1e-5)
    assert expected.points is not None
    assert found.points is not None
    assert len(expected.points) > 0
    np.testing.assert_allclose(found.points, expected.points, atol=0.01)


@pytest.mark.parametrize("size", [(67, 101), (129, 250)])
def test_a_graph_sees_every_begun_cell_and_nobody_beside_the_picture(light: Path, size: tuple[int, int]) -> None:
    pixels = [picture(*size, seed) for seed in (0, 1)]
    found = Predictor(str(light), backend="openvino").predict(pixels, locate=True)
    assert len(found) == 2
    for one in found:
        assert one.density.shape == (-(-size[0] // 8), -(-size[1] // 8))
        assert one.points is not None
        assert (one.points[:, :2] <= [size[1], size[0]]).all()
    alone = Predictor(str(light), backend="openvino").predict(pixels[1:])[0]
    assert alone.points is None
    np.testing.assert_array_equal(alone.density, found[1].density)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_what_was_looked_at_before_changes_no_byte(mcnn: Path, precision: str) -> None:
    predictor = Predictor(str(mcnn), backend="openvino", precision=precision)
    first = predictor.predict([picture(128, 256)])[0].density
    for size in ((256, 256), (128, 128), (250, 120), (32, 700), (1, 1)):
        predictor.predict([picture(*size)])
    np.testing.assert_array_equal(predictor.predict([picture(128, 256)])[0].density, first)


def test_int8_counts_as_fp32_in_the_middle_of_what_it_was_settled_on(mcnn: Path) -> None:
    pictures = [picture(64, 96, seed) for seed in range(3)]
    exact, quick = (Predictor(str(mcnn), "cpu", precision, backend="openvino") for precision in ("fp32", "int8"))
    expected, found = ([one.predict([p])[0].density.sum() for p in pictures] for one in (exact, quick))
    assert np.median(np.divide(found, expected)) == pytest.approx(1, rel=1e-3)
    assert exact.sha256 != quick.sha256
    assert quick.predict(pictures[:1])[0].density.sum() != exact.predict(pictures[:1])[0].density.sum()


def test_int8_rounds_what_layers_are_given_and_nothing_else(light: Path) -> None:
    """Rounded, sums of logits were cut off at the most that the pictures to settle on had: dense crowds lost half."""
    exact = openvino.Core().read_model(read_record(light).graph_paths("fp32")[0])
    graph = quantise(exact, [picture(64, 64)], Light.exact)
    rounded = [op.output(0).get_target_inputs() for op in graph.get_ops() if op.get_type_name() == "FakeQuantize"]
    takers = {taker.get_node().get_friendly_name() for inputs in rounded for taker in inputs}
    assert len(takers) > 50
    assert not [name for name in takers if name.startswith(("aten::", "__module.network/"))]


def test_auto_is_the_quickest_that_is_there(mcnn: Path, light: Path, no_gpu: None) -> None:
    assert Predictor(str(mcnn)).precision == "int8"
    chosen = Predictor(str(light))
    quick = "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"
    assert (chosen.backend, chosen.precision) == ("openvino", quick)
    assert Predictor(str(mcnn), settings={"sigma": 4.0}).backend == "torch"  # the graph has the record's settings


NO_TORCH = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("socket.", "subprocess.", "os.fork")) else 0)
import numpy as np
from gigacount.networks import backends
backends.gpu_possible = lambda: False
from gigacount.predict import Predictor, with_heads
predictor = Predictor(sys.argv[1])
(found,) = predictor.predict([np.zeros((64, 64, 3), np.uint8)], True)
with_heads(found, predictor.record)
print(predictor.backend, "torch" in sys.modules, "openvino_telemetry" in sys.modules, seen)
"""

EXPORT = """
import sys
from pathlib import Path
import torch, numpy as np
seen = []
kernel = "socket.gethostname"  # asks nobody else; temporary files are named after the host
sys.addaudithook(
    lambda event, _: seen.append(event) if event.startswith(("socket.", "os.fork")) and event != kernel else 0
)
from gigacount.networks.export import export_openvino
from gigacount.networks.record import read_record
pictures = [np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)]
export_openvino(read_record(Path(sys.argv[1])), Path(sys.argv[2]), pictures)
print("openvino_telemetry" in sys.modules, seen)
"""


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]


def test_counting_imports_no_torch_and_tells_nobody(light: Path) -> None:
    assert run(NO_TORCH, light) == "openvino False False []"


def test_exporting_tells_nobody(mcnn: Path, tmp_path: Path) -> None:
    assert run(EXPORT, mcnn, tmp_path) == "False []"


def test_a_count_imports_neither_torch_nor_scipy(mcnn: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(picture(96, 64, 1)).save(image)
    command = ["count", str(image), "--network", str(mcnn), "--out", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gigacount", *command], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert {"openvino", "numpy", "pyvips"} <= imported
    assert not {"torch", "scipy", "sklearn"} & imported


def damaged(light: Path, folder: Path, change: str) -> Path:
    """A copy of the record and its files with one fault."""
    for path in light.parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    xml = folder / "mine.fp32.xml"
    record = read_record(folder / light.name)
    if change == "bit":
        content = bytearray(xml.with_suffix(".bin").read_bytes())
        content[-1] ^= 1
        xml.with_suffix(".bin").write_bytes(content)
        return folder / light.name
    if change == "gone":
        xml.with_suffix(".bin").unlink()
        return folder / light.name
    if change == "cut":
        xml.write_bytes(xml.read_bytes()[:1000])
    if change == "weights":
        (folder / "mine.safetensors").write_bytes(b"other")
        record = replace(record, sha256=hash_file(folder / "mine.safetensors"))
    if change == "stride":
        record = replace(record, stride=4)
    if change == "foreign":
        ops = openvino.opset13
        x = ops.parameter([1, 3], np.float32)
        openvino.save_model(openvino.Model([ops.relu(x)], [x]), xml)
    graph = replace(record.graphs["fp32"], sha256=hash_file(xml, xml.with_suffix(".bin")))
    write_record(replace(record, graphs={"fp32": graph}), folder / light.name)
    return folder / light.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("bit", "not the weights of its record"),
        ("gone", r"mine.fp32.bin: cannot read the weights: No such file"),
        ("cut", "not a graph"),
        ("foreign", "not a graph"),
        ("weights", "made of other weights than mine.safetensors; export it anew"),
        ("stride", "has not the record's stride of 4"),
    ],
)
def test_a_graph_that_is_not_right_is_said_in_a_line(light: Path, tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        Predictor(str(damaged(light, tmp_path, change)), backend="openvino").predict([picture(64, 64)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"backend": "tvm"}, "no backend 'tvm'; choose one of: auto, openvino, torch"),
        ({"precision": "fp64"}, "no precision 'fp64'"),
        ({"device": "auto:1"}, "no device 'auto:1'; choose one of: auto, cpu"),
        ({"device": "cuda:x"}, "no device"),
        ({"backend": "torch", "precision": "int8"}, "backend torch has precision bf16, fp16, tf32, fp32, not int8"),
        ({"backend": "openvino", "precision": "fp16"}, "no precision fp16 on processors"),
        ({"backend": "openvino", "precision": "tf32"}, "no precision tf32 on processors"),
        ({"backend": "torch", "device": "cpu", "precision": "tf32"}, "tf32 needs a CUDA device, not cpu"),
        ({"backend": "openvino", "device": "cuda"}, "runs on processors, not on cuda"),
        (
            {"precision": "int8"},
            r"has no int8 graph; make one with: gigacount networks export mine --precision int8 --cal",
        ),
    ],
)
def test_what_cannot_be_together_is_said(light: Path, asked: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Predictor(str(light), **asked)  # type: ignore[arg-type]


def test_pytorch_takes_over_where_openvino_cannot_be(
    light: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = read_record(light)
    caplog.set_level("INFO")
    monkeypatch.setattr(backends, "has_avx2", lambda: False)
    assert choose_backend(record, {}, "auto", "auto", "auto") == "torch"
    with pytest.raises(UsageError, match="this processor has no AVX2; use --backend torch"):
        choose_backend(record, {}, "openvino", "auto", "auto")
    monkeypatch.undo()
    monkeypatch.setattr(backends, "gpu_possible", lambda: False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_backend(record, {}, "auto", "auto", "auto") == "torch"
    with pytest.raises(UsageError, match=r"it is not there .*install it"):
        choose_backend(record, {}, "openvino", "auto", "auto")
    assert [message.split(":")[1].split("(")[0] for message in caplog.messages] == [
        " this processor has no AVX2; use --backend torch",
        " it is not there ",
    ]


def test_a_gpu_goes_before_the_processor(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "gpu_possible", lambda: True)
    record = read_record(light)
    assert choose_backend(record, {}, "auto", "auto", "auto") == "torch"
    assert choose_backend(record, {}, "auto", "cpu", "auto") == "openvino"
    assert choose_backend(record, {}, "openvino", "auto", "auto") == "openvino"


def test_threads_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch, light: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    predictor = Predictor(str(light), backend="openvino")
    predictor.predict([picture(64, 64)])
    request = predictor._loaded._request  # type: ignore[attr-defined]
    assert request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert ours.threads() >= 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("tflite", "fp32", []), "no backend to export for 'tflite'"),
        (("onnx", "int8", [picture(64, 64)]), "precision for onnx is fp32, not int8"),
        (("openvino", "fp16", []), "precision for openvino is int8 and fp32"),
        (("openvino", "int8", []), "int8 needs images"),
    ],
)
def test_what_cannot_be_exported_is_said(mcnn: Path, tmp_path: Path, asked: tuple[str, str, list], words: str) -> None:
    with pytest.raises(GigacountError, match=words):
        export_network(read_record(mcnn), *asked[:2], tmp_path, asked[2])


def test_a_missing_tool_is_named(mcnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"exporting needs onnx .*gigacount\[export\]"):
        export_onnx(read_record(mcnn), tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('graphs.fp32 = { file = "a.xml" }', "a graph is"),
        ('graphs.fp16 = { file = "a.xml", sha256 = "0" }', "a graph is"),
        ('graphs.int8 = { file = "../a.xml", sha256 = "0" }', "beside the record"),
        ("graphs = 3", "'graphs' must be a table"),
    ],
)
def test_broken_tables_of_graphs_are_explained(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "x.toml").write_text(f'name = "x"\nnetwork = "mcnn"\nweights = "w"\nsha256 = "0"\n{table}\n')
    with pytest.raises(WeightsError, match=words):
        read_record(tmp_path / "x.toml")


def test_the_command_exports_for_weights_of_ones_own(tmp_path: Path) -> None:
    made_record(tmp_path, "mcnn")
    command = [sys.executable, "-m", "gigacount", "networks", "export", str(tmp_path / "mine.toml"), "--out"]
    out = tmp_path / "out"
    done = subprocess.run([*command, str(out)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{out / 'mine.toml'}\n"
    assert {path.name for path in out.iterdir()} == {
        "mine.toml",
        "mine.safetensors",
        "mine.fp32.xml",
        "mine.fp32.bin",
    }
    assert Predictor(str(out / "mine.toml"), backend="openvino").predict([picture(*EXAMPLE_SHAPE[1:3])])
