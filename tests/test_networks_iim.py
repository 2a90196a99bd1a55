"""IIM's own rules: binarisation, components, published names; and HRNet-W48 under its authors' names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from gigacount.errors import UnknownNameError
from gigacount.labels import dot_mask
from gigacount.networks.hrnet import HRNetW48
from gigacount.networks.iim import (
    IIM,
    IIMVGG,
    TILING,
    Binarise,
    IIMHRNet,
    ImageBinarisation,
    PixelBinarisation,
    compressed_sigmoid,
    find_instances,
)
from gigacount.networks.windows import whole_or_tiled


def binarise(confidence: Tensor, threshold: Tensor) -> Tensor:
    return Binarise.apply(confidence, threshold.expand_as(confidence))


class Made(IIM):
    """Its output is made: the picture's first two channels are confidence and threshold."""

    channels = 4

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"binarisation": "image"} | settings)

    def add_encoder(self) -> None:
        pass

    def features(self, images: Tensor) -> Tensor:
        return images[:, :, ::4, ::4]

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :2]


# ---- binarisation layer, 3.1


def test_binarisation_and_its_gradients_by_hand() -> None:
    confidence = torch.tensor([[[[0.1, 0.5], [0.9, 0.4]]]], requires_grad=True)
    threshold = torch.tensor([[[[0.3, 0.5], [0.6, 0.6]]]], requires_grad=True)
    binary = binarise(confidence, threshold)
    assert binary.tolist() == [[[[0, 1], [1, 0]]]]  # eq. 1: equal is enough
    weights = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]]]])
    (binary * weights).sum().backward()
    assert threshold.grad is not None
    assert confidence.grad is not None
    torch.testing.assert_close(threshold.grad, -weights)
    torch.testing.assert_close(confidence.grad, 0.2 * weights)


def test_one_threshold_for_the_picture_gathers_the_gradient_of_all_pixels() -> None:
    confidence = torch.rand(2, 1, 3, 5)
    threshold = torch.full((2, 1, 1, 1), 0.5, requires_grad=True)
    binarise(confidence, threshold).mean().backward()
    assert threshold.grad is not None
    torch.testing.assert_close(threshold.grad, torch.full((2, 1, 1, 1), -0.5))  # -1 for each of two pictures' means


@pytest.mark.parametrize("at", [0.25, 0.5, 0.65])
def test_gradients_against_finite_differences_under_the_papers_conditions(at: float) -> None:
    """Eq. 2 and 3: many pixels, confidences uniform in 0..1. Then mean(B) is 1 - T, and rises by what I is raised."""
    confidence = ((torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000).reshape(1, 1, 100, 100)
    step = 0.01

    def ones(threshold: float, raised: float = 0.0) -> float:
        return binarise(confidence + raised, torch.full((1, 1, 1, 1), threshold, dtype=torch.float64)).mean().item()

    assert ones(at) == pytest.approx(1 - at)
    by_threshold = (ones(at + step) - ones(at - step)) / (2 * step)
    by_confidence = (ones(at, step) - ones(at, -step)) / (2 * step)

    image = confidence.clone().requires_grad_()
    threshold = torch.full((1, 1, 1, 1), at, dtype=torch.float64, requires_grad=True)
    binarise(image, threshold).mean().backward()
    assert threshold.grad is not None
    assert image.grad is not None
    assert threshold.grad.item() == pytest.approx(by_threshold, abs=1e-6)
    assert image.grad.sum().item() == pytest.approx(0.2 * by_confidence, abs=1e-6)  # the sign of eq. 8, a fifth of it


def test_compressed_sigmoid_stays_within_its_range() -> None:
    x = torch.tensor([-80.0, -1.0, 0.0, 1.0, 80.0])
    y = compressed_sigmoid(x)
    torch.testing.assert_close(y[2], torch.tensor(1 / 3 + 0.2))
    torch.testing.assert_close(y[[0, 4]], torch.tensor([0.2, 0.7]))
    assert (y.diff() > 0).all()


# ---- binarisation modules, 3.3.2


def test_image_level_gives_one_threshold_and_pixel_level_one_for_each_stride_8_cell() -> None:
    torch.manual_seed(0)
    features, confidence = torch.rand(2, 12, 16, 24) * 20, torch.rand(2, 1, 64, 96)
    image = ImageBinarisation(12)(features, confidence)
    pixel = PixelBinarisation(12)(features, confidence)
    assert image.shape == (2, 1, 1, 1)
    assert pixel.shape == (2, 1, 64, 96)
    assert image[0] != image[1]
    assert pixel[0].unique().numel() > 1
    cells = pixel[:, :, ::8, ::8]
    assert torch.equal(pixel, cells.repeat_interleave(8, 2).repeat_interleave(8, 3))
    for threshold in (image, pixel):
        assert ((threshold > 0.2) & (threshold < 0.7)).all()


def test_where_nothing_is_confident_the_image_threshold_is_that_of_zero() -> None:
    threshold = ImageBinarisation(4)(torch.rand(1, 4, 8, 8), torch.zeros(1, 1, 32, 32))
    assert threshold.item() == pytest.approx(1 / 3 + 0.2)


@pytest.mark.parametrize("binarisation", ["pixel", "image"])
def test_the_threshold_teaches_its_encoder_alone(binarisation: str) -> None:
    made = IIMVGG(binarisation)
    made(torch.rand(1, 3, 32, 32))[:, 1].sum().backward()
    taught = {name.split(".")[0] for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"binarisation"}


def test_an_unknown_binarisation_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="choose one of: pixel, image, fixed"):
        IIMVGG("row")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no rule for masks 'a'; choose one of: nwpu, shanghaitech-a"):
        Made(masks="a")


@pytest.mark.parametrize("side", [16, 50])
def test_a_lone_heads_square_has_the_side_that_is_set(side: int) -> None:
    mask = Made(largest_box=side, truth="squares").targets(np.array([[64.0, 64.0]]), (128, 128))["mask"]
    assert mask.sum() == pytest.approx(side**2, rel=0.15)
    assert mask[64, 64] == 1


def test_the_loss_by_hand() -> None:
    images = torch.zeros(1, 3, 16, 16)
    images[0, 1] = 0.5
    images[0, 0, 0, 0], images[0, 0, 3, 3] = 0.8, 0.4
    mask = torch.zeros(1, 16, 16)
    mask[0, 0, 0] = mask[0, 3, 3] = 1
    # MSE: 0.2^2 and 0.6^2 of 256 pixels; the binary map misses one pixel.
    expected = (0.04 + 0.36 + 1) / 256
    assert Made().loss(images, {"mask": mask}).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "taught"),
    [
        ({"binarisation": "image"}, {0, 1}),
        ({"binarisation": "image", "l1": "threshold"}, {1}),
        ({"binarisation": "fixed", "threshold": 0.8}, set()),
    ],
)
def test_what_learns_from_the_l1_loss_is_table_3s(settings: dict[str, Any], taught: set[int]) -> None:
    """Of a picture whose confidence is right but for 0.5 below the threshold, so that MSE alone teaches little."""
    images = torch.zeros(1, 3, 16, 16)
    images[0, 1], images[0, 0, 3, 3] = 0.7, 0.5
    images.requires_grad_(True)
    made, mask = Made(**settings), torch.zeros(1, 16, 16)
    mask[0, 3, 3] = 1
    made.loss(images, {"mask": mask}).backward()
    assert images.grad is not None
    squares = torch.zeros_like(images)
    squares[0, 0, 3, 3] = 2 * (0.5 - 1) / 256
    beside = images.grad - squares  # what the L1 loss brings
    assert {channel for channel in range(3) if beside[0, channel].abs().max() > 1e-9} == taught
    assert made.binarisation(torch.zeros(1, 4, 4, 4), torch.zeros(1, 1, 16, 16)).unique().tolist() == [
        pytest.approx(0.8 if "threshold" in settings else 1 / 3 + 0.2)
    ]
    assert len(made.parameter_groups(1e-5)) == (1 if "threshold" in settings else 2)


def test_truth_is_boxes_where_they_are_known_and_dots_elsewhere() -> None:
    points = np.array([[20.0, 20.0], [60.0, 60.0], [68.0, 60.0]])
    boxes = np.array([[14.0, 10.0, 26.0, 30.0], [np.nan] * 4, [np.nan] * 4])
    mask = Made().targets(points, (100, 100), boxes)["mask"]
    assert mask[:40, :40].sum() == 12 * 20
    _, parts = ndimage.label(mask)
    assert parts == 3
    assert np.array_equal(Made(truth="points").targets(points, (100, 100), boxes)["mask"], dot_mask(points, (100, 100)))
    assert np.array_equal(Made().targets(points, (100, 100))["mask"], dot_mask(points, (100, 100)))


def test_the_threshold_encoder_learns_at_a_tenth_of_the_rate() -> None:
    made = IIMVGG()
    predictor, threshold = made.parameter_groups(1e-5)
    assert predictor["lr"] == 1e-5
    assert threshold["lr"] == pytest.approx(1e-6)
    assert sum(p.numel() for p in predictor["params"]) == 18_203_009
    assert sum(p.numel() for p in threshold["params"]) == 2_138_181 - 2  # the two that nothing uses


# ---- components


def test_components_by_hand() -> None:
    picture = """
    ##...#
    #...##
    .#..#.
    .##...
    ....##
    """
    binary = np.array([[mark == "#" for mark in row] for row in picture.split()])
    confidence = np.where(binary, 0.5, 0.1).astype(np.float32)
    confidence[3, 1] = 0.75
    found = find_instances(binary, confidence)
    # Corners do not connect, and the last two pixels are too few.
    assert len(found) == 3
    order = np.lexsort((found[:, 0], found[:, 1]))
    thirds = 0.5 + 1 / 3
    np.testing.assert_allclose(
        found[order, :3], [[thirds, thirds, 0.5], [5.0, 1.5, 0.5], [0.5 + 4 / 3, 0.5 + 8 / 3, 0.75]], rtol=1e-6
    )
    np.testing.assert_array_equal(found[order, 3:7], [[0, 0, 2, 2], [4, 0, 6, 3], [1, 2, 3, 4]])
    assert found[order, 7].tolist() == [3, 4, 3]


def test_an_empty_map_has_nobody() -> None:
    found = find_instances(np.zeros((4, 5), bool), np.zeros((4, 5), np.float32))
    assert found.shape == (0, 8)


def test_each_component_is_one_person_in_the_cell_of_its_centre() -> None:
    images = torch.zeros(1, 3, 21, 30)
    images[0, 1] = 0.5
    images[0, 0, 2:5, 6:9] = 0.9  # centre (7.5, 3.5)
    images[0, 0, 17:21, 24:30] = 0.6  # centre (27, 19)
    prediction = Made().predict(images, locate=True)
    assert prediction.density.shape == (1, 3, 4)
    assert prediction.density.nonzero().tolist() == [[0, 0, 0], [0, 2, 3]]
    assert prediction.density.sum() == 2
    assert prediction.points is not None
    boxed = [[7.5, 3.5, 0.9, 6, 2, 9, 5, 9], [27, 19, 0.6, 24, 17, 30, 21, 24]]  # x, y, score, box, area
    np.testing.assert_allclose(prediction.points[0], boxed, rtol=1e-6)


def test_large_pictures_are_tiled_and_the_tiles_meet_exactly() -> None:
    images = torch.zeros(1, 3, 1030, 2060)
    images[0, 1] = 0.5
    images[0, 0, 508:516, 1020:1028] = 0.9  # where four tiles meet
    images[0, 0, 1020:1030, 2050:2060] = 0.9
    made = Made()
    assert torch.equal(whole_or_tiled(images, made, TILING), images[:, :2])
    assert made.predict(images).density.sum() == 2


# ---- published names


def hrnet_w48() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the authors' HRNetV2-W48 state dict, up to its classification head."""
    widths = (48, 96, 192, 384)

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{name}.{part}", () if part == "num_batches_tracked" else (channels,)

    def unit(conv: str, bn: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{conv}.weight", shape
        yield from norm(bn, shape[0])

    yield from unit("conv1", "bn1", (64, 3, 3, 3))
    yield from unit("conv2", "bn2", (64, 64, 3, 3))
    for block in range(4):
        given = 64 if block == 0 else 256
        yield from unit(f"layer1.{block}.conv1", f"layer1.{block}.bn1", (64, given, 1, 1))
        yield from unit(f"layer1.{block}.conv2", f"layer1.{block}.bn2", (64, 64, 3, 3))
        yield from unit(f"layer1.{block}.conv3", f"layer1.{block}.bn3", (256, 64, 1, 1))
    yield from unit("layer1.0.downsample.0", "layer1.0.downsample.1", (256, 64, 1, 1))
    yield from unit("transition1.0.0", "transition1.0.1", (48, 256, 3, 3))
    yield from unit("transition1.1.0.0", "transition1.1.0.1", (96, 256, 3, 3))
    yield from unit("transition2.2.0.0", "transition2.2.0.1", (192, 96, 3, 3))
    yield from unit("transition3.3.0.0", "transition3.3.0.1", (384, 192, 3, 3))
    for branches, modules in ((2, 1), (3, 4), (4, 3)):
        for module in range(modules):
            stage = f"stage{branches}.{module}"
            for branch in range(branches):
                for block in range(4):
                    for conv in (1, 2):
                        name = f"{stage}.branches.{branch}.{block}"
                        yield from unit(f"{name}.conv{conv}", f"{name}.bn{conv}", (widths[branch],) * 2 + (3, 3))
            for to in range(branches):
                for source in range(branches):
                    name = f"{stage}.fuse_layers.{to}.{source}"
                    if source > to:
                        yield from unit(f"{name}.0", f"{name}.1", (widths[to], widths[source], 1, 1))
                    for halving in range(to - source):
                        out = widths[to] if halving == to - source - 1 else widths[source]
                        yield from unit(f"{name}.{halving}.0", f"{name}.{halving}.1", (out, widths[source], 3, 3))


def test_hrnets_state_dict_loads() -> None:
    state = {name: torch.full(shape, 0.5) for name, shape in hrnet_w48()}
    assert set(state) == set(HRNetW48().state_dict())
    made = IIMHRNet()
    made.load_backbone({**state, "classifier.weight": torch.zeros(1000, 2048)})
    assert all((p == 0.5).all() for p in made.encoder.parameters())


PUBLISHED = [
    (IIMVGG, "Extractor.layer1.0.weight", "encoder.features.0.weight"),
    (IIMVGG, "Extractor.layer2.1.bias", "encoder.features.24.bias"),
    (IIMVGG, "Extractor.layer3.8.running_mean", "encoder.features.41.running_mean"),
    (IIMVGG, "Extractor.neck.lateral_convs.2.conv.weight", "neck.lateral_convs.2.conv.weight"),
    (IIMVGG, "Extractor.neck.fpn_convs.0.bn.weight", "neck.fpn_convs.0.bn.weight"),
    (IIMVGG, "Extractor.module.de_pred.3.weight", "head.3.weight"),
    (IIMVGG, "Binar.Threshold_Module.7.weight", "binarisation.encoder.7.weight"),
    (IIMVGG, "Binar.module.weight", "binarisation.weight"),
    (IIMHRNet, "Extractor.stage4.2.branches.3.3.conv2.weight", "encoder.stage4.2.branches.3.3.conv2.weight"),
    (IIMHRNet, "Extractor.last_layer.0.bias", "head.0.bias"),
    (IIMHRNet, "Binar.bias", "binarisation.bias"),
]


@pytest.mark.parametrize(("kind", "published", "ours"), PUBLISHED)
def test_published_names_are_ours(kind: type[IIM], published: str, ours: str) -> None:
    tensor = torch.zeros(1)
    assert kind.rename_published({published: tensor}) == {ours: tensor}
    assert ours in kind().state_dict()


def test_a_whole_published_state_dict_loads() -> None:
    def published(name: str) -> str:
        def cut(found: re.Match[str]) -> str:
            layer = int(found[1])
            part, start = max((part, start) for part, start in ((1, 0), (2, 23), (3, 33)) if layer >= start)
            return f"Extractor.layer{part}.{layer - start}."

        name = re.sub(r"^encoder\.features\.(\d+)\.", cut, name)
        name = re.sub(r"^neck\.", "Extractor.neck.", name)
        name = re.sub(r"^head\.", "Extractor.de_pred.", name)
        name = re.sub(r"^binarisation\.encoder\.", "Binar.Threshold_Module.", name)
        return re.sub(r"^binarisation\.", "Binar.", name)

    made = IIMVGG()
    state = {published(name): tensor for name, tensor in made.state_dict().items()}
    assert all(name.startswith(("Extractor.", "Binar.")) for name in state)
    made.load_state_dict(IIMVGG.rename_published(state), strict=True)
