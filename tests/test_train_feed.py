"""Crops cut by processes: the same as without, each image decoded once, and nothing is left of them however it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from train_fakes import RECIPE, Tiny, batch, options, same, write_photos

from gigacount.errors import GigacountError
from gigacount.networks import HELPERS, NETWORKS, build
from gigacount.train.crops import CropMaker
from gigacount.train.decoded import NO_ROOM, NOWHERE, Decoded
from gigacount.train.feed import ahead, default_workers, serve
from gigacount.train.sources import TrainingPicture, decoded_once, open_sources


@pytest.fixture
def maker(tmp_path: Path) -> CropMaker:
    photos = write_photos(tmp_path / "photos", 4)
    return CropMaker(open_sources(options(photos, photos / "none", validation=0.0)), Tiny(), RECIPE, seed=3)


def pictures(maker: CropMaker) -> list[TrainingPicture]:
    return maker.sources[0].train


def test_two_workers_cut_the_crops_of_none_and_decode_each_image_once(maker: CropMaker) -> None:
    alone = list(ahead(maker, range(3, 12), 1, 0))
    with decoded_once(pictures(maker), pytest.fail):
        together = list(ahead(maker, range(3, 12), 1, 2))
        decoded = pictures(maker)[0].decoded
        assert decoded is not None
        places = decoded._places.tolist()
    assert len(alone) == len(together) == 9
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert all(np.array_equal(one.targets[name], other.targets[name]) for name in one.targets)
        images, again = maker.batch(one, torch.device("cpu"))[0], maker.batch(other, torch.device("cpu"))[0]
        assert torch.equal(images, again)
    start, size = 5 * 8, 200 * 160 * 3
    assert sorted(places) == [start + n * size for n in range(5)]  # the last is where the file ends
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", [*NETWORKS, *HELPERS])
def test_workers_make_the_targets_of_any_network_without_its_parameters(maker: CropMaker, name: str) -> None:
    with torch.device("meta"):
        maker.network = build(name)
    sent = ForkingPickler.dumps(maker)
    assert len(sent) < 500_000
    for key, targets in maker.crops(0).targets.items():
        assert np.array_equal(pickle.loads(sent).crops(0).targets[key], targets, equal_nan=True)


def test_an_image_that_fails_in_a_worker_ends_all_with_one_line(maker: CropMaker) -> None:
    broken = pictures(maker)[2].sample.image
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(GigacountError, match=r"2\.png") as raised:
        list(ahead(maker, range(40), 0, 1))
    assert "\n" not in str(raised.value)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_ends_all_with_one_line(maker: CropMaker) -> None:
    with closing(ahead(maker, range(10_000), 0, 1)) as crops:
        next(crops)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(GigacountError, match=r"killed by SIGKILL.*--resume") as raised:
            list(crops)
    assert "\n" not in str(raised.value)


class Pipe:
    """What a worker sends."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def send(self, made: object) -> None:
        self.sent.append(made)


def test_what_a_worker_did_not_foresee_is_one_line_too(maker: CropMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, threads = Pipe(), torch.get_num_threads()
    for name in ("die_with_parent", "ignore"):
        monkeypatch.setattr(f"gigacount.signals.{name}", lambda *parent: None)
    monkeypatch.setattr("gigacount.train.feed.share_one_arena", lambda: None)
    monkeypatch.setattr(CropMaker, "crops", lambda *step: 1 / 0)
    serve(0, pipe, maker, range(5), 0)  # type: ignore[arg-type]
    torch.set_num_threads(threads)
    (error,) = pipe.sent
    assert isinstance(error, GigacountError)
    assert "unexpected ZeroDivisionError" in str(error)


def waited_for(done: Callable[[], bool], seconds: float = 400) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.1)
    return done()


def children(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -9), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_nothing_is_left_of_a_training_that_is_stopped(tmp_path: Path, number: int, status: int) -> None:
    """No process, no scratch file, no shared memory."""
    photos, scratch, out = write_photos(tmp_path / "photos"), tmp_path / "scratch", tmp_path / "run"
    scratch.mkdir()
    command = [sys.executable, "-m", "gigacount", "train", "--network", "mcnn", "--data", f"csv:{photos}", "--out"]
    command += [str(out), "--workers", "2", "--batch", "1", "--steps", "100000", "--save-every", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    process = subprocess.Popen([*command, "--device", "cpu"], env=environment, stderr=subprocess.DEVNULL)
    try:
        assert waited_for((out / "checkpoint.pt").exists)
        started = children(process.pid)
        assert len(started) >= 2
        assert not any("/dev/shm" in Path(f"/proc/{one}/maps").read_text() for one in (process.pid, *started))
        process.send_signal(number)
        assert process.wait(60) == status
        assert waited_for(lambda: not any(Path(f"/proc/{one}").exists() for one in started))
    finally:
        process.kill()
        process.wait()
    assert not [path for path in scratch.rglob("*") if path.is_file()]


def test_images_without_room_are_decoded_each_time(maker: CropMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.train.decoded.SHARE", 0.0)
    kept = maker.crops(0)
    with decoded_once(pictures(maker), pytest.fail):
        for _ in range(2):
            assert np.array_equal(maker.crops(0).pixels, kept.pixels)
        decoded = pictures(maker)[0].decoded
        assert decoded is not None
        assert set(decoded._places[1:].tolist()) <= {NO_ROOM, NOWHERE}
        assert NO_ROOM in decoded._places


def test_a_decoded_image_is_not_decoded_again() -> None:
    decoded, pixels = Decoded(2), np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for decode in (lambda: pixels, pytest.fail):
        assert np.array_equal(decoded.image(2, (4, 5, 3), decode), pixels)  # type: ignore[arg-type]
    decoded.close()


def test_where_no_scratch_file_can_be_made_training_goes_on(
    maker: CropMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept, told = maker.crops(0), []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with decoded_once(pictures(maker), told.append):
        assert np.array_equal(maker.crops(0).pixels, kept.pixels)
    assert len(told) == 1
    assert "TMPDIR" in told[0]


def test_no_memory_is_pinned_for_a_processor(maker: CropMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", pytest.fail)
    images, _ = batch(maker, 0)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert same({"again": images}, {"again": batch(maker, 0)[0]})


def test_a_processor_cuts_its_crops_itself_and_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert default_workers(torch.device("cpu")) == 0
    assert default_workers(torch.device("cuda")) == 14
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert default_workers(torch.device("cuda")) == 2
