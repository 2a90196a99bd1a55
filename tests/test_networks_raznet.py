"""RAZ-Net's own rules: regions, zooming, fusion, losses and stages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Window
from gigacount.networks.raznet import RazNet
from gigacount.networks.raznet.branches import attention_loss, counting_loss, localization_loss
from gigacount.networks.raznet.decisions import (
    NO_THETA,
    anchors,
    boxes_around,
    fit_theta,
    fuse,
    intersection_over_union,
    mean_inside,
    propose_regions,
    replace_points,
    sub_counts,
    sub_images,
    suppress,
)
from gigacount.networks.raznet.network import PART_HW, Streams, heads_in, magnify


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_branches_have_the_parameters_of_their_models() -> None:
    main = RazNet().main
    assert parameters(main.encoder, main.localization) == 18_242_370  # NWPU-Crowd's reproduction
    assert parameters(main.encoder, main.counting) == 16_263_489  # CSRNet


# ---- losses


def test_counting_loss_by_hand() -> None:
    density = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    truth = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    # Eq. 1 for 16 x 16 px: 8 sqrt((1 + 4 + 4) / 256) = 1.5, and 0 for the second picture.
    assert counting_loss(density, truth, 16 * 16).item() == pytest.approx(0.75)


def test_a_perfect_count_has_no_gradient_rather_than_an_infinite_one() -> None:
    density = torch.ones(1, 2, 2, requires_grad=True)
    counting_loss(density, torch.ones(1, 2, 2), 256).backward()
    assert density.grad is not None
    assert not density.grad.any()


def test_localization_loss_by_hand() -> None:
    psi = torch.tensor([[[0.8, 0.1], [0.5, 0.2]]])
    cross = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    logits = torch.stack([torch.zeros_like(psi), (psi / (1 - psi)).log()], dim=1)
    expected = -(100 * math.log(0.8) + math.log(0.9) + math.log(0.5) + 100 * math.log(0.2)) / 4
    assert localization_loss(logits, cross).item() == pytest.approx(expected, rel=1e-5)


def test_attention_loss_is_least_at_the_truth() -> None:
    truth = torch.tensor([[[0.2, 0.9]]])
    at_truth = attention_loss((truth / (1 - truth)).log(), truth)
    assert at_truth < attention_loss(torch.tensor([[[0.0, 0.0]]]), truth)
    assert at_truth.item() == pytest.approx(
        -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in (0.2, 0.9)) / 2, rel=1e-5
    )


def test_targets_follow_eq_2_and_keep_the_count() -> None:
    points = np.array([[10.5, 6.5], [13.5, 6.5], [30.2, 40.9], [30.9, 40.1]])
    targets = Made(depth=1).targets(points, (50, 60))
    assert targets["density"].shape == (8, 7)
    assert targets["density"].sum() == pytest.approx(4, rel=1e-4)
    assert targets["heads"].sum() == 4
    assert targets["cross"].sum() == 5 + 5 + 5  # the last two share a pixel
    assert targets["cross"][6, 10:15].tolist() == [1, 1, 1, 1, 1]
    assert targets["cross"][5, 9:15].tolist() == [0, 1, 0, 0, 1, 0]
    assert targets["attention"].max() < 0.01  # nobody has three heads close by


# ---- regions


def test_anchors_have_two_scales_and_three_shapes() -> None:
    width, height = anchors((60, 90)).T
    np.testing.assert_allclose(width * height, [400] * 3 + [1600] * 3)
    np.testing.assert_allclose(height / width, [1, 0.5, 2] * 2)
    assert width[0] == pytest.approx(20)  # a third of the shorter edge


def test_anchors_are_cut_at_the_border() -> None:
    boxes = boxes_around(np.array([[45.0, 30.0], [0.5, 59.5]]), (60, 90))
    assert boxes.shape == (12, 4)
    assert boxes[0].tolist() == [35, 20, 55, 40]
    assert boxes[6].tolist() == [0, 50, 10, 60]
    assert boxes_around(np.array([[0.5, 0.5]]), (1, 1)).tolist() == [[0, 0, 1, 1]] * 6


def test_mean_inside_boxes() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    boxes = np.array([[0, 0, 4, 3], [1, 1, 3, 3], [3, 0, 4, 1]])
    np.testing.assert_allclose(mean_inside(values, boxes), [5.5, 7.5, 3])


def test_intersection_over_union_and_suppression_by_hand() -> None:
    ranked = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5], [20, 0, 30, 10], [40, 0, 50, 10]])
    np.testing.assert_allclose(intersection_over_union(ranked[0], ranked), [1, 0.6, 0.5, 0, 0])
    kept = suppress(ranked, 3)
    assert kept.tolist() == [[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]]  # 0.5 is not above 0.5


def crowd_map() -> NDArray[np.float32]:
    """Attention of one dense and one less dense crowd on 120 x 180 px."""
    attention = np.zeros((120, 180), np.float32)
    attention[10:50, 20:60] = 0.8
    attention[70:110, 130:170] = 0.4
    return attention


def test_regions_lie_on_the_crowds_best_first() -> None:
    attention = crowd_map()
    regions = propose_regions(attention, 40)
    assert regions[:10] == propose_regions(attention)
    boxes = np.array([(r.left, r.top, r.right, r.bottom) for r in regions])
    means = mean_inside(attention, boxes)
    assert (np.diff(means) <= 0).all()
    assert means[0] > 0.7  # an anchor of the crowd's size, a few pixels off it
    assert means.min() >= 0.01
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert all(x < 90 for x, _ in centres[:10])  # the first ten all lie on the denser crowd
    assert any(130 < x < 170 and 70 < y < 110 for x, y in centres)
    for number, box in enumerate(boxes):
        assert (intersection_over_union(box, boxes[number + 1 :]) <= 0.5).all()


def test_the_same_map_gives_the_same_regions() -> None:
    assert propose_regions(crowd_map()) == propose_regions(crowd_map())


def test_limits_are_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(propose_regions(crowd_map(), 1)) == 1
    monkeypatch.setattr("gigacount.networks.raznet.decisions.MIN_ATTENTION", 0.9)
    assert propose_regions(crowd_map()) == []


def test_an_empty_street_is_not_zoomed() -> None:
    assert propose_regions(np.zeros((20, 30), np.float32)) == []
    assert propose_regions(np.full((20, 30), 0.009, np.float32)) == []  # below theta_z


def test_points_inside_a_region_are_replaced() -> None:
    points = np.array([[5, 5, 0.9], [10, 10, 0.8], [19.9, 14, 0.7], [20, 10, 0.6]], np.float32)
    found = np.array([[12, 12, 0.5]], np.float32)
    left = replace_points(points, Window(10, 10, 10, 5), found)
    assert left.tolist() == np.array([[5, 5, 0.9], [20, 10, 0.6], [12, 12, 0.5]], np.float32).tolist()


# ---- zooming


class Made(RazNet):
    """Sees made things: Main-Net one head at (30.5, 20.5), attention around it; RAZ-Net two heads and no attention."""

    def __init__(self, depth: int, deeper: bool = False, streams: Streams = "fusion") -> None:
        torch.nn.Module.__init__(self)
        self.depth, self.deeper = depth, deeper
        self.streams, self.density_stride = streams, 8
        self.theta_f = torch.full((16,), NO_THETA)
        self.zooms = torch.tensor(True)
        self.zoomed: list[tuple[int, ...]] = []

    def _main_maps(self, images: Tensor) -> Tensor:
        maps = torch.zeros(len(images), 3, *images.shape[-2:])
        maps[:, 0] = 2 / 64 / 64  # two people, evenly
        maps[:, 1, 19:22, 29:32] = 1
        maps[:, 1, 59:62, 3:6] = 1
        maps[:, 2, 18:23, 28:33] = 1
        return maps

    def _zoom_maps(self, images: Tensor) -> Tensor:
        self.zoomed.append(tuple(images.shape[-2:]))
        maps = torch.zeros(len(images), 2, *images.shape[-2:])
        middle, centre = images.shape[-2] // 2, images.shape[-1] // 2
        maps[:, 0, middle - 1 : middle + 2, centre - 7 : centre - 4] = 1
        maps[:, 0, middle - 1 : middle + 2, centre + 5 : centre + 8] = 1
        if self.deeper:
            maps[:, 1, middle - 8 : middle + 8, centre - 8 : centre + 8] = 1
        return maps


def test_depth_1_is_main_net_alone() -> None:
    made = Made(depth=1)
    looked = made.look(torch.zeros(3, 64, 64))
    assert sorted(looked.points[:, :2].tolist()) == [[4.5, 60.5], [30.5, 20.5]]
    assert made.zoomed == []
    assert looked.located.sum() == 2
    torch.testing.assert_close(looked.density, torch.full((8, 8), 2 / 64))


def test_heads_in_crowded_regions_are_replaced_by_what_is_seen_at_twice_the_size() -> None:
    made = Made(depth=2)
    regions = propose_regions(made._main_maps(torch.zeros(1, 3, 64, 64))[0, 2].numpy())
    looked = made.look(torch.zeros(3, 64, 64))
    assert made.zoomed == [(2 * -(-r.height // 4) * 4, 2 * -(-r.width // 4) * 4) for r in reversed(regions)]
    places = looked.points[:, :2].tolist()
    assert [4.5, 60.5] in places  # not in a crowd
    assert [30.5, 20.5] not in places
    best = regions[0]
    rows, cols = made.zoomed[-1]
    middle, centre = rows // 2 + 0.5, cols // 2 + 0.5
    for shift in (-6, 6):
        assert [best.left + (centre + shift) / 2, best.top + middle / 2] in places


def test_zooming_goes_on_where_the_zoomed_picture_is_still_crowded() -> None:
    once, twice, calm = Made(depth=2, deeper=True), Made(depth=3, deeper=True), Made(depth=3)
    for made in (once, twice, calm):
        made.look(torch.zeros(3, 64, 64))
    assert len(twice.zoomed) > len(once.zoomed) == len(calm.zoomed)


def test_magnified_sub_images_and_their_heads_keep_their_places() -> None:
    image = torch.zeros(3, 20, 30)
    image[:, 8, 12] = 1
    heads = torch.zeros(20, 30)
    heads[8, 12], heads[9, 20], heads[0, 0] = 2, 1, 1
    region = Window(10, 5, 12, 9)
    zoomed = magnify(image, region)
    assert zoomed.shape == (3, 18, 24)
    y, x = divmod(int(zoomed[0].argmax()), 24)
    points = heads_in(heads, region)
    assert points.tolist() == [[5, 7], [5, 7], [21, 9]]
    assert abs(x + 0.5 - 5) <= 1
    assert abs(y + 0.5 - 7) <= 1


# ---- fusion


def test_sub_images_partition_the_map() -> None:
    covered = torch.zeros(9, 6)
    for place in sub_images(9, 6):
        covered[place] += 1
    assert (covered == 1).all()
    assert sub_counts(torch.ones(3, 2)).sum() == 6


def test_fusion_by_hand() -> None:
    density, located = torch.zeros(8, 8), torch.zeros(8, 8)
    density[0, 0], located[1, 1] = 6, 2  # mean 4
    density[2:4, 0:2] = 5  # 20 people, nobody located: mean 10
    located[7, 7] = 1
    fused = fuse(density, located, torch.full((16,), 10.0))
    assert fused[0, 0] == 3  # below theta: the mean of both streams
    assert fused[1, 1] == 1
    assert (fused[2:4, 0:2] == 5).all()  # from theta on: the density
    assert fused[7, 7] == 0.5
    assert fused.sum() == (6 + 2) / 2 + 20 + 0.5  # eq. 4, summed


@pytest.mark.parametrize(("streams", "people"), [("density", 2), ("localization", 2), ("average", 2), ("fusion", 2)])
def test_streams_count_by_themselves_or_together(streams: Streams, people: float) -> None:
    """Tables 2 and 4. Main-Net sees two people evenly, and two heads; with theta 0 the fusion is the density."""
    made, image = Made(depth=1, streams=streams), torch.zeros(1, 3, 64, 64)
    made.theta_f = torch.zeros(16)
    cells = made.predict(image).density[0]
    assert cells.sum().item() == pytest.approx(people)
    at_a_head = {"density": 2 / 64, "localization": 1, "average": (1 + 2 / 64) / 2, "fusion": 2 / 64}[streams]
    assert cells[2, 3].item() == pytest.approx(at_a_head)


def test_theta_belongs_to_its_sub_image() -> None:
    theta = torch.full((16,), torch.inf)
    theta[15] = 0
    fused = fuse(torch.full((4, 4), 2.0), torch.zeros(4, 4), theta)
    assert fused.tolist() == [[1, 1, 1, 1]] * 3 + [[1, 1, 1, 2]]


def fused_error(density: Tensor, located: Tensor, truth: Tensor, theta: float) -> float:
    mean = (density + located) / 2
    return torch.where(mean >= theta, density, mean).sub(truth).abs().sum().item()


def test_theta_by_hand() -> None:
    # Sparse pictures are right on average, dense ones by density alone; the change is at the mean of the third.
    density = torch.tensor([[2.0], [6.0], [20.0], [40.0]])
    located = torch.tensor([[4.0], [4.0], [12.0], [20.0]])
    truth = torch.tensor([[3.0], [5.0], [20.0], [40.0]])
    assert fit_theta(density, located, truth).tolist() == [16]
    assert fit_theta(density[:2], located[:2], truth[:2]).tolist() == [NO_THETA]


counts = st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=8)


@given(counts)
def test_no_theta_is_better_than_the_fitted_one(rows: list[tuple[int, int, int]]) -> None:
    density, located, truth = (torch.tensor(column, dtype=torch.float32)[:, None] for column in zip(*rows, strict=True))
    fitted = fit_theta(density, located, truth).item()
    best = min(fused_error(density, located, truth, theta / 2) for theta in range(27))
    assert fused_error(density, located, truth, fitted) == pytest.approx(best)


def test_calibration_fits_theta_and_changes_the_count() -> None:
    made = Made(depth=1)
    image = torch.zeros(3, 64, 64)
    before = made.predict(image[None]).density.sum()
    torch.testing.assert_close(before, torch.tensor(2.0))
    # One person in each sub-image where the even density says 2 / 16, and localization mostly 0.
    y, x = np.mgrid[8:64:16, 8:64:16]
    made.calibrate([(image, np.stack([x.ravel(), y.ravel()], axis=1))])
    crowded = made.predict(image[None]).density
    # All but the two sub-images with a located head are better off with density alone.
    torch.testing.assert_close(crowded.sum(), torch.tensor(14 * 2 / 16 + 2 * (1 + 2 / 16) / 2))


# ---- stages


LEARNING = {
    "counting": {"main.encoder", "main.counting"},
    "localization": {"main.localization"},
    "regions": {"main.regions"},
    "zoomed localization": {"zoom.encoder", "zoom.localization"},
    "zoomed regions": {"zoom.regions"},
}


def test_stages_train_their_branch_and_leave_the_others() -> None:
    torch.manual_seed(0)
    made = RazNet()
    points = np.array([[20.5, 20.5], [24.5, 20.5], [20.5, 25.5], [25.5, 26.5]])
    targets = {name: torch.from_numpy(value)[None] for name, value in made.targets(points, (48, 48)).items()}
    assert made.stages == tuple(LEARNING)
    for stage in made.stages:
        made.begin_stage(stage)
        made.zero_grad()
        loss = made.loss(torch.rand(1, 3, 48, 48), targets)
        loss.backward()
        taught = {".".join(name.split(".")[:2]) for name, p in made.named_parameters() if p.grad is not None}
        assert taught == LEARNING[stage], stage
        assert loss > 0


def test_raz_net_starts_from_main_nets_parameters() -> None:
    made = RazNet()
    assert not made.zooms
    made.begin_stage("zoomed localization")
    assert made.zooms
    for name, tensor in made.zoom.state_dict().items():
        main = made.main.state_dict()[name]
        assert torch.equal(tensor, main[:, 64:] if name == "regions.layers.0.weight" else main)


def test_without_a_crowd_the_zoomed_stage_has_nothing_to_learn() -> None:
    made = RazNet()
    torch.nn.init.constant_(made.main.regions.output.bias, -20)
    made.begin_stage("zoomed localization")
    loss = made.loss(torch.rand(1, 3, 24, 24), {"heads": torch.zeros(1, 24, 24)})
    loss.backward()
    assert loss == 0


def test_zoomed_stages_learn_from_whole_pictures() -> None:
    made = RazNet()
    for stage in made.stages:
        made.begin_stage(stage)
        assert made.whole_images == stage.startswith("zoomed")


def test_a_large_sub_image_is_learnt_from_in_parts_that_keep_their_heads() -> None:
    made = Made(depth=2).train()
    image, points = torch.zeros(3, 900, 1000), np.array([[500.5, 450.5], [2.5, 2.5]])
    image[:, 450, 500] = 1
    for _ in range(5):
        part, heads = made._part(image, points)
        assert part.shape == (3, *PART_HW)
        (x, y), *_ = heads.tolist()
        assert part[0, int(y), int(x)] == 1
    small, heads = made.eval()._part(image[:, :100, :100], points[1:])
    assert small.shape == (3, 100, 100)
    assert heads.tolist() == [[2.5, 2.5]]


@pytest.mark.parametrize("deconvolutions", [0, 1, 2])
def test_the_counting_branch_alone_at_three_resolutions(deconvolutions: int) -> None:
    """4.3, "Effect of Resolution": 1/8, 1/4 and 1/2 of the input size; nothing else is trained."""
    torch.manual_seed(0)
    made = RazNet(streams="density", deconvolutions=deconvolutions)
    assert made.stages == ("counting",)
    made.begin_stage("counting")
    points = np.array([[20.5, 20.5], [24.5, 20.5]])
    targets = {name: torch.from_numpy(value)[None] for name, value in made.targets(points, (48, 40)).items()}
    side = 8 >> deconvolutions
    assert targets["density"].shape == (1, 40 // side, 48 // side)
    assert targets["density"].sum() == pytest.approx(2, rel=1e-4)
    images = torch.rand(1, 3, 40, 48)
    assert torch.isfinite(made.loss(images, targets))
    with torch.no_grad():
        cells = made.predict(images).density
        own = made.main.counting(made.main.encoder(images))[0]
    assert cells.shape == (1, 5, 6)
    assert cells.sum().item() == pytest.approx(own.sum().item(), rel=1e-4, abs=1e-4)
    assert not made.calibrate([])


def test_a_depth_or_resolution_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="depth is at least 1"):
        RazNet(depth=0)
    with pytest.raises(UsageError, match="at most 2 deconvolutions"):
        RazNet(deconvolutions=3)


def test_an_unknown_stage_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="choose one of: joint, counting"):
        RazNet().begin_stage("zooming")


def test_torchvisions_vgg16_starts_main_nets_encoder() -> None:
    made = RazNet()
    state = {f"features.{name}": torch.full_like(t, 0.5) for name, t in made.main.encoder.features.state_dict().items()}
    made.load_backbone({**state, "classifier.0.weight": torch.zeros(4096, 25088)[:1]})
    assert all((p == 0.5).all() for p in made.main.encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "lr"), [("zoomed localization", 3e-4), ("zoomed regions", 3e-3)])
def test_the_zoomed_stages_learn(stage: str, lr: float) -> None:
    torch.manual_seed(0)
    made = RazNet()
    points = np.stack(np.meshgrid(np.arange(6.5, 40, 8), np.arange(6.5, 40, 8)), axis=-1).reshape(-1, 2)
    targets = {name: torch.from_numpy(value)[None] for name, value in made.targets(points, (40, 40)).items()}
    image = 3 * targets["cross"][:, None].expand(1, 3, 40, 40) - 1
    made.begin_stage("zoomed localization")
    made.begin_stage(stage)
    optimiser = torch.optim.Adam(made.parameter_groups(lr))
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = made.loss(image, targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
