"""DeepCount: branches on demand, division and combination, eq. 3."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from hypothesis import given
from hypothesis import strategies as st
from network_cases import batch, density_of, network, pictures, published
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.count import Counter
from gigacount.errors import UsageError
from gigacount.networks import build
from gigacount.networks.deepcount import DeepCount, combine, density_aware_loss, divide, normalise, tiling, to_cells
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import CountOptions


def deepcount(branch: int) -> DeepCount:
    """The small one with another branch; parameters are shared."""
    made = copy.copy(network("deepcount"))
    made.density_branch = branch
    return made


@pytest.mark.parametrize("branch", [0, 1, 2, 3, 4, 5])
def test_deepcount_runs_the_branch_asked_for_and_no_other(branch: int) -> None:
    made = deepcount(branch)
    ran: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, module in enumerate(made.branches.values(), 1)
    ]
    density_of(made, pictures(1, 128, 128))
    for hook in hooks:
        hook.remove()
    assert ran == ([branch] if branch else [])


@pytest.mark.parametrize("branch", [0, 1, 3, 5])
def test_deepcounts_density_sums_to_its_count(branch: int) -> None:
    made, images = deepcount(branch), pictures(1, 256, 128)
    with torch.no_grad():
        counts, _ = made(torch.cat([images[:, :, :128], images[:, :, 128:]]))
    density = density_of(made, images)
    assert density.min() >= 0
    for tile, count in zip((density[0, :16], density[0, 16:]), counts, strict=True):
        assert tile.sum().item() == pytest.approx(count.item(), rel=1e-5)
    if branch == 0:
        assert density[0, :16].std() < 1e-6


def test_deepcounts_density_has_its_branchs_proportions() -> None:
    made, images = deepcount(2), pictures(1, 128, 128)
    with torch.no_grad():
        maps = F.relu(made(images)[1][1])  # (1, 8, 8), stride 16
    cells = density_of(made, images)[0]  # (16, 16), stride 8
    coarse = 4 * F.avg_pool2d(cells[None], 2)
    torch.testing.assert_close(coarse / coarse.sum(), maps / maps.sum(), rtol=1e-4, atol=1e-6)


def test_a_branchs_own_map_may_be_the_count() -> None:
    """Table 7: the sum of a branch's map, whatever the backbone says."""
    made, images = deepcount(3), pictures(1, 128, 128)
    made.count_from = "branch"
    with torch.no_grad():
        counts, maps = made(images)
    assert density_of(made, images).sum().item() == pytest.approx(maps[2].sum().item(), rel=1e-4)
    assert maps[2].sum().item() != pytest.approx(counts.item(), rel=0.1)


@pytest.mark.parametrize(("detached", "millions"), [(1, 11.54), (5, 21.40)])
def test_detached_branches_are_not_there(detached: int, millions: float) -> None:
    """Table 9; with all of them gone only the backbone is left to learn."""
    with torch.device("meta"):
        made = DeepCount(density_branch=0, detached=detached)
        whole = sum(p.numel() for p in DeepCount().parameters())
    left = sum(p.numel() for p in made.parameters())
    assert (left if detached == 5 else whole - left) / 1e6 == pytest.approx(millions, abs=0.02)
    small = DeepCount(density_branch=0, tile_wh=(128, 128), detached=detached)
    images, targets = batch(small, 128, (3,))
    assert len(small(images)[1]) == 5 - detached
    assert torch.isfinite(small.loss(images, targets))


def test_the_slope_is_that_of_every_activation() -> None:
    """Table 8: 0 makes them ReLUs."""
    with torch.device("meta"):
        slopes = [
            {m.negative_slope for m in DeepCount(slope=s).modules() if isinstance(m, nn.LeakyReLU)} for s in (0.2, 0)
        ]
    assert slopes == [{0.2}, {0}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"density_branch": 6}, "density branches 1 to 5 here, not 6"),
        ({"detached": 1}, "density branches 2 to 5 here, not 1"),
        ({"detached": 6, "density_branch": 0}, "may be detached, not 6"),
        ({"density_branch": 0, "count_from": "branch"}, "density branches 1 to 5 here, not 0"),
    ],
)
def test_branches_that_are_not_there_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DeepCount(**settings)


def test_deepcount_counts_nobody_rather_than_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = DeepCount.backbone

    def negative(self: DeepCount, tiles: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        counts, vector, features = backbone(self, tiles)
        return -counts, vector, features

    images = pictures(1, 128, 128)
    assert density_of(deepcount(1), images).sum() > 0
    monkeypatch.setattr(DeepCount, "backbone", negative)
    assert density_of(deepcount(1), images).abs().sum() == 0


def test_a_branch_that_sees_nobody_spreads_the_count_evenly() -> None:
    shares = normalise(torch.tensor([[[-1.0, 0.0]], [[3.0, -1.0]]]))
    assert torch.equal(shares, torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]))


@pytest.mark.parametrize(
    ("size_wh", "rows_cols"),
    [((512, 384), (1, 1)), ((1024, 768), (2, 2)), ((2560, 1440), (4, 5)), ((100, 100), (1, 1)), ((300, 2000), (9, 1))],
)
def test_pictures_divide_into_the_nearest_tiling(size_wh: tuple[int, int], rows_cols: tuple[int, int]) -> None:
    assert tiling(size_wh, (512, 384)) == rows_cols


def test_tiles_are_laid_together_as_they_were_cut() -> None:
    images = pictures(2, 24, 40)
    tiles = divide(images, 3, 4, (10, 8))
    assert tiles.shape == (24, 3, 8, 10)
    assert torch.equal(tiles[5], images[0, :, 8:16, 10:20])  # second row, second column
    assert torch.equal(combine(tiles[:, 1], 3, 4), images[:, 1])


@given(
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size_wh=st.tuples(st.integers(1, 150), st.integers(1, 150)),
)
def test_nobody_is_lost_between_tiles_and_cells(grid: tuple[int, int], size_wh: tuple[int, int]) -> None:
    people = torch.rand(2, *grid, generator=torch.Generator().manual_seed(1))
    cells = to_cells(people, size_wh)
    assert cells.shape == (2, -(-size_wh[1] // 8), -(-size_wh[0] // 8))
    assert cells.min() >= 0
    torch.testing.assert_close(cells.sum((1, 2)), people.sum((1, 2)), rtol=1e-5, atol=1e-6)


def test_the_papers_tile_takes_a_picture_of_another_size() -> None:
    made = published("deepcount")
    assert isinstance(made, DeepCount)
    seen: dict[str, Tensor] = {}
    hooks = [
        made.get_submodule(name).register_forward_hook(lambda *args, name=name: seen.update({name: args[2]}))
        for name in ("features.0", "features.4", "vector", "count")
    ]
    density = density_of(made, pictures(1, 75, 101))
    for hook in hooks:
        hook.remove()
    assert density.shape == (1, 10, 13)
    assert density.sum().item() == pytest.approx(max(seen["count"].item(), 0), rel=1e-5)
    assert seen["features.0"].shape == (1, 256, 48, 64)
    assert seen["features.4"].shape == (1, 256, 3, 4)
    assert seen["vector"].shape == (1, 1024, 1, 1)


def test_each_branch_ends_at_its_stride() -> None:
    with torch.no_grad():
        counts, maps = deepcount(0)(pictures(1, 128, 128))
    assert counts.shape == (1,)
    assert [tuple(m.shape) for m in maps] == [(1, 16, 16), (1, 8, 8), (1, 4, 4), (1, 2, 2), (1, 1, 1)]


def test_deepcounts_branches_have_the_papers_layers() -> None:
    """Table 1: a transposed 3x4 convolution, then 4, 3, 2, 1 or 0 of 4x4 with stride 2, then 1x1."""
    up, last = 16 * 512 * 256 + 256, 512 + 1
    expected = [12 * 1024 * 256 + 256 + steps * up + last for steps in (4, 3, 2, 1, 0)]
    assert [
        sum(p.numel() for p in branch.parameters()) for branch in published("deepcount").branches.values()
    ] == expected


def test_a_fresh_deepcount_hands_the_signal_on() -> None:
    """Ten layers of plain Xavier weights leave 1/500 of it, and then pictures do not differ in their count."""
    torch.manual_seed(0)
    made = DeepCount(tile_wh=(128, 128))
    with torch.no_grad():
        tiles = pictures(2, 128, 128)
        before, vector = made.encoder(tiles), made.backbone(tiles)[1]
    assert (vector.square().mean() / before.square().mean()).sqrt() > 1 / 50


def test_deepcounts_loss_by_hand() -> None:
    """Two tiles of 3 people and 1. The maps say 0, but for branch 5, which says 2 for the first: off by 1, not 3."""
    density = torch.zeros(2, 16, 16)
    density[0, 4, 5] = 2
    density[0, 15, 0] = 1
    density[1, 8, 8] = 1
    maps = [torch.zeros(2, side, side) for side in (16, 8, 4, 2, 1)]
    maps[4][0] = 2
    counts = torch.tensor([5.0, 0.0])
    bracket = (16 * (2 + 1) + 4 * (3 + 1) + (1 + 1)) / (2 * 2)
    assert density_aware_loss(counts, maps, density).item() == pytest.approx(bracket)


def test_deepcounts_loss_is_equation_3() -> None:
    made = deepcount(None)
    images, targets = batch(made, 128, (3,))
    with torch.no_grad():
        loss = made.loss(images, targets)
        bracket = density_aware_loss(*made(images), targets["density"])
    squares = sum(parameter.detach().square().sum(dtype=torch.float64).item() for parameter in made.parameters())
    assert loss.item() == pytest.approx(0.01 * bracket.item() + 1e-5 / 2 * squares, rel=1e-4)


def test_deepcount_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="branches 1 to 5 here, not 6"):
        DeepCount(6)
    with pytest.raises(UsageError, match="multiples of 128 px"):
        DeepCount(tile_wh=(500, 384))
    with pytest.raises(UsageError, match="crops of 128x128 pixels, not 64x96"):
        network("deepcount").loss(pictures(1, 96, 64), {})


# ---- on demand, from the command line


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of the small network."""
    made = copy.deepcopy(network("deepcount"))
    for branch in made.branches.values():
        nn.init.constant_(branch.density[0].bias, 1)  # fresh, some see nobody anywhere, which is spread evenly
    save_weights(made, tmp_path / "small.safetensors")
    settings = {"tile_wh": [128, 128], "density_branch": 2}
    digest = hash_file(tmp_path / "small.safetensors")
    written = NetworkRecord("small", "deepcount", "small.safetensors", digest, settings=settings)
    write_record(written, tmp_path / "small.toml")
    return tmp_path / "small.toml"


@pytest.mark.parametrize(("asked", "branch"), [((), 2), (("density_branch=0",), 0), (("density_branch=5",), 5)])
def test_the_branch_asked_for_takes_the_place_of_the_records(record: Path, asked: tuple[str, ...], branch: int) -> None:
    counter = Counter(CountOptions("downsample", str(record), str(record), device="cpu", settings=asked))
    for predictor in (counter.predictor, counter.coarse):
        assert predictor.record.settings["density_branch"] == branch


def test_the_branches_spread_the_same_count(record: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / "a.png"))
    options = CountOptions("downsample", str(record), device="cpu", precision="fp32")
    found = [Counter(replace(options, settings=(f"density_branch={b}",))).count(tmp_path / "a.png") for b in (0, 1, 5)]
    assert [one.count for one in found] == pytest.approx([found[0].count] * 3, rel=1e-5)
    even, fine, coarse = (one.density.cells for one in found)
    for tile in np.split(even, 2, axis=1):
        np.testing.assert_allclose(tile, tile[0, 0], rtol=1e-5)
    assert fine[:, :16].std() > 1e-3 * fine.mean()
    assert not np.allclose(fine, coarse)


def test_other_networks_have_no_branches(tmp_path: Path) -> None:
    save_weights(build("mcnn"), tmp_path / "mcnn.safetensors")
    digest = hash_file(tmp_path / "mcnn.safetensors")
    write_record(NetworkRecord("mcnn", "mcnn", "mcnn.safetensors", digest), tmp_path / "mcnn.toml")
    with pytest.raises(UsageError, match="network 'mcnn' has no setting 'density_branch'"):
        Counter(CountOptions(network=str(tmp_path / "mcnn.toml"), settings=("density_branch=1",))).predictor  # noqa: B018
    with pytest.raises(UsageError, match="a setting is given as NAME=VALUE, not 'density_branch'"):
        CountOptions(settings=("density_branch",))
