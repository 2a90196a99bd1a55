"""Weights of others: recognised by their tensors, converted without running a pickle, refused with the way out."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from safetensors.torch import save_file
from torch import Tensor

from gigacount.cli import app
from gigacount.errors import OutputError, UnknownNameError, UsageError, WeightsError
from gigacount.networks import NETWORKS, build, find_record, load
from gigacount.networks.convert import read_published, read_tensors, write_converted
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.mcnn import MCNN
from gigacount.networks.mudiknn import MudIknn
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import belonging, blank, recognise, save_weights


def fresh(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build(name).state_dict()


def mcnn_as_published() -> dict[str, Tensor]:
    """MCNN's tensors under the names of C-3-Framework, where convolutions and pools alone are counted."""
    theirs = {"0": "0", "3": "2", "6": "4", "8": "5"}
    state = {}
    for name, tensor in fresh("mcnn").items():
        part, *rest = name.split(".")
        column = f"branch{int(rest[0]) + 1}.{theirs[rest[1]]}" if part == "columns" else "fuse.0"
        state[f"CCN.module.{column}.conv.{rest[-1]}"] = tensor
    return state


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_recognised_by_its_tensors(name: str) -> None:
    state = blank(name).state_dict()
    assert recognise(state) == (name, 1.0)
    assert belonging(state) == f"they are weights of {name}"
    del state[next(iter(state))]
    found, share = recognise(state)
    assert found == name
    assert 0.9 < share < 1


def test_tensors_of_nothing_here_are_said_to_be_that() -> None:
    state = {"fc.weight": torch.zeros(2, 2)}
    assert re.match(r"they are of no network here \(light, csrnet, ", belonging(state))


def test_tensors_with_other_shapes_are_like_their_network_but_not_its() -> None:
    state = fresh("mcnn") | {"columns.0.0.weight": torch.zeros(16, 1, 9, 9)}
    assert belonging(state) == "they are most like mcnn, with 96% of the tensors in common"


def test_a_checkpoint_becomes_weights_and_a_record(tmp_path: Path) -> None:
    state = mcnn_as_published()
    torch.save({"epoch": 3, "best": np.float64(9.5), "state_dict": state, "lr": 1e-4}, tmp_path / "best.pth")
    name, network = read_published(tmp_path / "best.pth")
    assert name == "mcnn"
    write_converted(network, tmp_path / "mcnn.toml", "best.pth")
    record = find_record(str(tmp_path / "mcnn.safetensors"))
    assert record == find_record(str(tmp_path / "mcnn.toml"))
    assert record.stride == 4
    assert record.mean == MCNN.mean
    loaded = load(record).state_dict()
    assert all(torch.equal(loaded[ours], tensor) for ours, tensor in fresh("mcnn").items())


@pytest.mark.parametrize("legacy", [False, True])
def test_half_precision_and_parallel_training_are_understood(tmp_path: Path, legacy: bool) -> None:
    state = {f"module.{name}": tensor.half() for name, tensor in fresh("mcnn").items()}
    torch.save(state, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=not legacy)
    name, network = read_published(tmp_path / "x.pth.tar", "mcnn")
    assert name == "mcnn"
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_weights_of_another_network_are_named_with_what_differs(tmp_path: Path) -> None:
    torch.save(fresh("mcnn"), tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=r"x\.pth: not weights of csrnet: missing: .* more; they are weights of mcnn$"
    ):
        read_published(tmp_path / "x.pth", "csrnet")
    torch.save(fresh("mcnn") | {"more.weight": torch.zeros(1)}, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match="cannot tell whose weights these are: they are most like mcnn, with 96%"):
        read_published(tmp_path / "y.pth")


def test_a_record_of_another_networks_weights_tells_whose_they_are(tmp_path: Path) -> None:
    save_weights(build("mcnn"), tmp_path / "x.safetensors")
    digest = hash_file(tmp_path / "x.safetensors")
    record = NetworkRecord("x", "csrnet", "x.safetensors", digest, folder=tmp_path)
    with pytest.raises(WeightsError, match=r"not weights of csrnet: missing: .*; they are weights of mcnn$") as error:
        load(record)
    assert "\n" not in str(error.value)


def test_a_record_with_a_setting_that_the_network_lacks_is_refused(tmp_path: Path) -> None:
    save_weights(build("mcnn"), tmp_path / "x.safetensors")
    digest = hash_file(tmp_path / "x.safetensors")
    record = NetworkRecord("x", "mcnn", "x.safetensors", digest, settings={"sigmar": 4}, folder=tmp_path)
    with pytest.raises(UsageError, match="network 'mcnn' has no setting 'sigmar'"):
        load(record)


def test_weights_without_batch_counters_load(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in fresh("sasnet").items() if "num_batches" not in name}
    save_file(state, tmp_path / "sasnet.safetensors")
    digest = hash_file(tmp_path / "sasnet.safetensors")
    load(NetworkRecord("sasnet", "sasnet", "sasnet.safetensors", digest, folder=tmp_path))


class Trap:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": fresh("mcnn"), "trap": Trap(tmp_path / "sprung")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"it holds \w+\.mkdir, and only tensors are loaded"):
        read_published(tmp_path / "x.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 cut short", b"\x80\x02}q\x00"])
def test_files_that_are_no_weights_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth: cannot read these weights: .+") as error:
        read_tensors(tmp_path / "x.pth")
    assert "\n" not in str(error.value)


def test_a_pickle_damaged_anywhere_is_refused_in_one_line_or_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    torch.save({"state_dict": {"a.weight": torch.zeros(2)}}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = np.frombuffer((tmp_path / "x.pth").read_bytes(), np.uint8)
    refused: list[str] = []
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 2)] = rng.integers(0, 256, 2)
        (tmp_path / "x.pth").write_bytes(damaged.tobytes())
        try:
            read_tensors(tmp_path / "x.pth")
        except WeightsError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not any("\n" in message for message in refused)


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}])
def test_a_checkpoint_without_one_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no state dict of tensors"):
        read_tensors(tmp_path / "x.pth")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file or directory"):
        read_tensors(tmp_path / "x.pth")


def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    torch.save(fresh("mcnn"), tmp_path / "x.pth")
    way = rf"a pickle.*gigacount networks convert {re.escape(str(tmp_path))}/x\.pth --network NAME$"
    with pytest.raises(WeightsError, match=way):
        find_record(str(tmp_path / "x.pth"))
    shutil.move(tmp_path / "x.pth", tmp_path / "x.safetensors")
    write_record(
        NetworkRecord("x", "mcnn", "x.safetensors", hash_file(tmp_path / "x.safetensors")), tmp_path / "x.toml"
    )
    with pytest.raises(WeightsError, match=r"x\.safetensors: this is a pickle"):
        load(find_record(str(tmp_path / "x.toml")))


def test_mud_iknns_published_names_are_understood() -> None:
    ours = blank("mud-iknn").state_dict()
    parts = {
        "encoder.features.conv0": "conv_layer1.conv0",
        "encoder.features.norm0": "conv_layer1.norm0",
        "encoder.features.denseblock": "dense_blocks.denseblock",
        "encoder.features.transition": "transition_layers.transition",
        "encoder.features.norm5": "norm5",
        "map_modules.0.upsample": "map_module1.map_transposed_conv_layer",
        "map_modules.1.shrink.0": "map_module2.conv1",
        "map_modules.2.count": "map_module3.count_layer",
        "count": "count_layer",
    }
    published = {
        theirs + name.removeprefix(mine): tensor
        for name, tensor in ours.items()
        for mine, theirs in parts.items()
        if name.startswith(mine)
    }
    found = MudIknn.rename_published(published)
    assert set(found) < set(ours)
    assert len(found) == len(published)
    assert all(found[name].shape == ours[name].shape for name in found)


def test_the_command_converts_and_count_takes_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": mcnn_as_published()}, tmp_path / "theirs.pt")
    convert = ["networks", "convert", str(tmp_path / "theirs.pt"), "--network", "mcnn", "--out", str(tmp_path / "mine")]
    record = tmp_path / "mine" / "mcnn.toml"
    assert not app(convert, standalone_mode=False)
    assert capsys.readouterr().out == f"{record}\n"
    with pytest.raises(OutputError, match="--overwrite"):
        app(convert, standalone_mode=False)
    app([*convert, "--overwrite"], standalone_mode=False)
    pyvips.Image.black(80, 64, bands=3).write_to_file(str(tmp_path / "a.png"))
    capsys.readouterr()
    assert not app(["count", str(tmp_path / "a.png"), "--network", str(record), "--quiet"], standalone_mode=False)
    float(capsys.readouterr().out)


def test_the_command_refuses_a_network_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="there is no network 'csrmet'; choose one of: light"):
        app(["networks", "convert", str(tmp_path / "x.pth"), "--network", "csrmet"], standalone_mode=False)


def test_csrnets_release_is_recognised(tmp_path: Path) -> None:
    state = {name.replace("encoder.features.", "frontend."): t for name, t in CSRNet().state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "x.tar")
    assert read_published(tmp_path / "x.tar")[0] == "csrnet"


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_a_file_that_unpacks_to_more_than_weights_are_is_refused(tmp_path: Path, suffix: str) -> None:
    """64 MB of zeros, which pack into a thousandth, with room for 10."""
    bomb = tmp_path / f"bomb{suffix}"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(64_000_000))
    assert bomb.stat().st_size < 100_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gigacount.networks.convert.MAX_BYTES", 10_000_000)
        with pytest.raises(WeightsError, match=r"0\.1 GB of weights; at most 0\.01 are read"):
            read_tensors(bomb)
