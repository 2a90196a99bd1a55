"""The predictor with a tiny network of its own: normalisation, divisor, precision, batch norm folding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from untrained import fresh_light

from gigacount.count import Counter, CountOptions, count_image
from gigacount.errors import UnknownNameError, UsageError, WeightsError
from gigacount.geometry import Size
from gigacount.networks import find_record, load, records
from gigacount.networks.backends import Seen
from gigacount.networks.backends import torch as backends_torch
from gigacount.networks.backends.torch import Torch, choose_device, choose_dtype, fold_batch_norms
from gigacount.networks.base import Prediction
from gigacount.networks.depthwise import untuned
from gigacount.networks.light import Light
from gigacount.networks.record import read_record
from gigacount.networks.weights import save_weights
from gigacount.options import StrategyOptions
from gigacount.predict import Predictor


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with random weights of the light network."""
    folder = tmp_path_factory.mktemp("models")
    network = fresh_light()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    save_weights(network, folder / "mine.safetensors")
    write_record(folder / "mine.toml", folder / "mine.safetensors")
    return folder / "mine.toml"


def write_record(path: Path, weights: Path, **more: object) -> None:
    import hashlib

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    lines = {"name": "mine", "network": "light", "weights": weights.name, "sha256": digest, **more}
    path.write_text("\n".join(f"{key} = {value!r}" for key, value in lines.items()))


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_odd_sizes_give_every_begun_cell(light: Path) -> None:
    (found,) = Predictor(str(light), precision="fp32").predict([picture(101, 67)])
    assert found.density.shape == (9, 13)
    assert found.density.dtype == np.float32
    assert np.isfinite(found.density).all()
    assert (found.density >= 0).all()
    assert found.points is None


def test_points_lie_in_the_picture_with_scores(light: Path) -> None:
    (found,) = Predictor(str(light), precision="fp32").predict([picture(96, 64)], locate=True)
    assert found.points is not None
    assert found.points.shape[1] == 3
    assert ((found.points[:, 2] >= 0) & (found.points[:, 2] <= 1)).all()


def test_folded_batch_norm_changes_nothing() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    network[1].running_mean = torch.randn(8)
    network[1].running_var = torch.rand(8) + 0.5
    network.eval()
    images = torch.randn(2, 3, 16, 16)
    before = network(images)
    folded = fold_batch_norms(network)  # type: ignore[arg-type]
    assert isinstance(folded[1], nn.Identity)  # type: ignore[index]
    torch.testing.assert_close(folded(images), before)


def test_batch_and_single_agree(light: Path) -> None:
    predictor = Predictor(str(light), precision="fp32")
    one, two = picture(64, 64), picture(64, 64, 1)
    together = predictor.predict([one, two])
    for found, alone in zip(together, (one, two), strict=True):
        np.testing.assert_allclose(found.density, predictor.predict([alone])[0].density, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", ["full", "sliding", "adaptive", "gigazoom"])
def test_a_count_in_batches_is_the_count(light: Path, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture(500, 400).repeat(2, 0).repeat(2, 1)
    looking = StrategyOptions(levels=2, max_size=(256, 192), tile=(256, 192), context=32, base=1.0)
    options = CountOptions(strategy, str(light), None, "cpu", "fp32", looking, backend="torch")
    taken: list[int] = []
    see = Torch.see

    def noting(self: Torch, images: Sequence[np.ndarray], locate: bool) -> Seen:
        taken.append(len(images))
        return see(self, images, locate)

    monkeypatch.setattr(Torch, "see", noting)
    alone = count_image(pixels, options)
    assert set(taken) == {1}
    taken.clear()
    monkeypatch.setattr(backends_torch, "batch_of", lambda device: 3)
    together, again = count_image(pixels, options), count_image(pixels, options)
    assert max(taken) > 1
    assert together.inferences == alone.inferences == sum(taken) / 2
    assert [one.view for one in together.looked] == [one.view for one in alone.looked]
    np.testing.assert_allclose(together.density.cells, alone.density.cells, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(again.density.cells, together.density.cells)


def test_a_batch_that_does_not_fit_the_memory_is_halved(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(str(light), "cpu", "fp32", backend="torch")
    pictures = [picture(64, 64, seed) for seed in range(5)]
    expected = [found.density for found in predictor.predict(pictures, locate=True)]
    tried: list[int] = []
    predict = Light.predict

    def short(self: Light, images: torch.Tensor, locate: bool = False) -> Prediction:
        tried.append(len(images))
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(self, images, locate)

    room = 2
    monkeypatch.setattr(Light, "predict", short)
    found = predictor.predict(pictures, locate=True)
    assert tried == [5, 2, 2, 1]
    assert predictor.batch == 2
    np.testing.assert_allclose([one.density for one in found], expected, rtol=1e-5, atol=1e-7)
    assert all(one.points is not None for one in found)
    room = 0
    with pytest.raises(UsageError, match="not enough memory on cpu to look at 64x64 pixels; lower --max-size"):
        predictor.predict(pictures)


def test_a_gpu_and_nothing_else_is_warmed_up_while_an_image_is_opened(
    light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[tuple[int, ...], bool, str]] = []

    def see(self: Torch, images: Sequence[np.ndarray], locate: bool) -> None:
        taken.append((images[0].shape, locate, threading.current_thread().name))
        raise UsageError("not enough memory")

    monkeypatch.setattr(Torch, "see", see)
    options = CountOptions("gigazoom", str(light), None, "cpu", "fp32", StrategyOptions(max_size=(128, 64)))
    options = replace(options, backend="torch")
    assert Counter(options).predictor.device == "cpu"
    assert taken == []
    monkeypatch.setattr(Torch, "warm_up", warmed_as_on_a_gpu(Torch.warm_up))
    assert Counter(options).predictor.locates
    assert taken == [((64, 128, 3), True, "load_0")]


def warmed_as_on_a_gpu(warm_up: Callable[[Torch, Size], None]) -> Callable[[Torch, Size], None]:
    def warm(self: Torch, size_wh: Size) -> None:
        device, self._device = self._device, torch.device("cuda")
        warm_up(self, size_wh)
        self._device = device

    return warm


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "kernel", "groups"), [((6, 4), 1, 1), ((6, 6), 3, 6), ((6, 6), 5, 6), ((3, 8), 3, 1)]
)
def test_what_is_not_tuned_per_size_convolves_alike(
    channels: tuple[int, int], kernel: int, groups: int, stride: int
) -> None:
    layer = nn.Conv2d(*channels, kernel, stride, kernel // 2, groups=groups)
    images = torch.randn(2, channels[0], 12, 20).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found = untuned(images, layer.weight, layer.bias, stride, kernel // 2)
        torch.testing.assert_close(found, layer(images))


def test_the_divisor_of_the_record_is_applied(light: Path) -> None:
    other = light.with_name("hundred.toml")
    write_record(other, light.with_name("mine.safetensors"), density_divisor=100.0)
    plain = Predictor(str(light), precision="fp32").predict([picture(64, 64)])[0].density
    divided = Predictor(str(other), precision="fp32").predict([picture(64, 64)])[0].density
    np.testing.assert_allclose(divided * 100, plain, rtol=1e-5)


def test_the_record_normalises(light: Path) -> None:
    other = light.with_name("shifted.toml")
    write_record(other, light.with_name("mine.safetensors"), mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    predictor = Predictor(str(other), precision="fp32")
    inputs: list[torch.Tensor] = []
    assert isinstance(predictor._loaded, Torch)
    predictor._loaded.network.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    predictor.predict([np.full((32, 32, 3), 255, np.uint8)])
    assert inputs[0].max() == inputs[0].min() == 1


def test_bf16_keeps_the_count(light: Path) -> None:
    exact = Predictor(str(light), precision="fp32").predict([picture(256, 256)])[0].density.sum()
    fast = Predictor(str(light), precision="bf16").predict([picture(256, 256)])[0].density.sum()
    assert fast == pytest.approx(exact, rel=0.01)


def test_altered_weights_are_refused(light: Path) -> None:
    weights = light.with_name("altered.safetensors")
    content = bytearray(light.with_name("mine.safetensors").read_bytes())
    record = light.with_name("altered.toml")
    weights.write_bytes(content)
    write_record(record, weights)
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="not the weights of its record"):
        Predictor(str(record))


def test_weights_of_another_network_say_what_differs(light: Path) -> None:
    record = light.with_name("other.toml")
    digest = read_record(light).sha256
    record.write_text(
        f'name = "other"\nnetwork = "light"\nweights = "mine.safetensors"\nsha256 = "{digest}"\n'
        "[settings]\nwidth = 64\n"
    )
    with pytest.raises(WeightsError, match=r"of another shape: .*instead of"):
        load(read_record(record))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name = ", "TOML"),
        ('name = "x"', "no 'network'"),
        ("x." * 20_000 + "y=1", "keys of more than 16 parts"),
        ("name={\"a . b\".'c'. " + "x ." * 20_000 + "y=1}", "keys of more than 16 parts"),
        ("x=" + "[" * 10_000, "not a network record"),
        ("x=" + "1" * 10_000, "not a network record"),
        ('name="x"\nnetwork="light"\nweights="w"\nsha256="0"\ncolour=1', "unknown field 'colour'"),
        ('name="x"\nnetwork="light"\nweights="../w"\nsha256="0"', "beside the record"),
        ('name="x"\nnetwork="light"\nweights="w"\nsha256="0"\nmean=[1]', "'mean' must be 3 numbers"),
    ],
)
def test_broken_records_are_explained(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.toml").write_text(content)
    with pytest.raises(WeightsError, match=words):
        read_record(tmp_path / "x.toml")


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="light"):
        find_record("ligth")
    with pytest.raises(UnknownNameError, match="auto, cpu"):
        choose_device("tpu")
    with pytest.raises(UnknownNameError, match="'auto:1'"):
        choose_device("auto:1")
    with pytest.raises(UnknownNameError, match="fp32"):
        choose_dtype("fp64", torch.device("cpu"))
    with pytest.raises(UsageError, match="needs a GPU"):
        choose_dtype("fp16", torch.device("cpu"))


def test_fp32_means_fp32(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN would round to TF32 by default; a network on the CPU sees what it is told."""
    told: list[bool] = []
    predict = Light.predict

    def noting(self: Light, images: torch.Tensor, locate: bool = False) -> Prediction:
        told.append(torch.backends.cudnn.allow_tf32)
        return predict(self, images, locate)

    monkeypatch.setattr(Light, "predict", noting)
    before = torch.backends.cudnn.allow_tf32
    Predictor(str(light), "cpu", "fp32").predict([np.zeros((32, 32, 3), np.uint8)])
    assert told == [False]
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.gpu
@pytest.mark.weights
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_counts_as_the_processor_does(precision: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    (expected,) = Predictor("light", "cpu", "fp32").predict([pixels])
    (found,) = Predictor("light", "cuda", precision).predict([pixels])
    assert found.density.sum() == pytest.approx(expected.density.sum(), rel=1e-3 if precision == "fp32" else 1e-2)


@pytest.mark.gpu
@pytest.mark.weights
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_counts_in_batches_as_one_by_one() -> None:
    predictor = Predictor("light", "cuda", "fp32")
    pictures = [picture(80, 45, seed).repeat(8, 0).repeat(8, 1) for seed in range(3)]
    together = predictor.predict(pictures)
    for found, alone in zip(together, pictures, strict=True):
        np.testing.assert_allclose(found.density, predictor.predict([alone])[0].density, rtol=1e-3, atol=1e-5)
    again = predictor.predict(pictures)
    assert all(np.array_equal(one.density, other.density) for one, other in zip(together, again, strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="not available"):
        choose_device("cuda")


@pytest.mark.weights
def test_every_shipped_record_loads() -> None:
    assert "light" in records()
    for record in records().values():
        network = load(record)
        assert network.stride == record.stride
        assert record.errors
        assert record.cost["parameters"] == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.weights
@pytest.mark.parametrize("value", [0, 127, 255])
def test_nobody_is_in_a_blank_picture(value: int) -> None:
    (found,) = Predictor("light").predict([np.full((360, 640, 3), value, np.uint8)])
    assert found.density.sum() == 0
