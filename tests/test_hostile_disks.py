"""Disks that are full or read-only, files that change or vanish, processes that end or meet: nothing is lost."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import cast

import numpy as np
import pytest
import pyvips
from batch_tools import leftovers, summary, wait_for
from fuzz import network
from hostile_changes import FORMATS, HARMS

from gigacount.image import source

TESTS = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def mounted(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("no permission to mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    mounted(tmp_path / "disk", "size=1m")
    yield tmp_path / "disk"
    gc.collect()  # errors hold what they stopped
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """A file that leaves so many bytes of the disk."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - leave, 0)))
    return filler


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with weights, two pictures in a folder, and one beside it."""
    folder = tmp_path_factory.mktemp("work")
    network(folder / "network")
    (folder / "p").mkdir()
    for seed, name in enumerate(("p/a.png", "p/b.png", "c.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 256, (400, 600, 3), np.uint8)
        pyvips.Image.new_from_array(pixels).write_to_file(str(folder / name))
    return folder


def command(*arguments: str | Path) -> list[str]:
    quick = ["--network", "network/tiny.toml", "--max-size", "128x96", "--levels", "1"]
    return [*map(str, arguments), *(quick if arguments[0] in ("count", "localize") else [])]


def start(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gigacount", *command(*arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, out, err


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gigacount(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """A command in this process, in the folder of photos: exit status, standard output, standard error."""
    from gigacount.cli import main

    monkeypatch.chdir(photos)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gigacount", *command(*arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return cast(int, ended.value.code), out, err

    before = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, before)


def one_line(told: tuple[int, str, str], *words: str) -> None:
    status, out, err = told
    assert (status, out) == (1, "")
    assert err.count("\n") == 1, err
    assert all(word in err for word in words), err


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "filler"
    }


# ---- full and read-only disks


def test_one_picture_and_a_full_disk(gigacount: Run, disk: Path) -> None:
    """Too full for the map, then too full for count.json alone; what stands there already stays."""
    out = disk / "out"
    assert gigacount("count", "c.jpg", "--out", out)[0] == 0
    before = content(disk)
    for leave in (0, 12_000):
        filler = fill(disk, leave)
        told = gigacount("count", "c.jpg", "--out", out, "--strategy", "downsample", "--overwrite")
        one_line(told, "c.jpg.gigacount", "no space left on the disk")
        assert content(disk) == before
        filler.unlink()
    assert gigacount("count", "c.jpg", "--out", out, "--strategy", "downsample", "--overwrite")[0] == 0


def test_heads_and_a_full_disk(gigacount: Run, disk: Path) -> None:
    heads = disk / "heads.csv"
    assert gigacount("localize", "c.jpg", "--out", heads)[0] == 0
    before = content(disk)
    filler = fill(disk)
    one_line(gigacount("localize", "c.jpg", "--out", heads, "--overwrite"), "heads.csv", "no space left")
    assert content(disk) == before
    filler.unlink()
    assert gigacount("localize", "c.jpg", "--out", heads, "--overwrite")[0] == 0
    assert content(disk) == before


def test_a_batch_and_a_full_disk_that_is_freed(gigacount: Run, disk: Path) -> None:
    out = disk / "out"
    assert gigacount("count", "p/a.png", "c.jpg", "--out", out)[0] == 0
    before = {name: data for name, data in content(disk).items() if "a.png.gigacount" in name}
    filler = fill(disk, 8_000)
    status, said, err = gigacount("count", "p", "c.jpg", "--out", out)
    assert status == 1
    assert "no space left on the disk" in err
    assert all(path.read_bytes() == before[str(path)] for path in map(Path, before))
    filler.unlink()
    status, said, err = gigacount("count", "p", "c.jpg", "--out", out)
    assert status == 0, err
    assert len(said.splitlines()) == 3
    assert [row["status"] for row in summary(out)] == ["done"] * 3
    assert leftovers(out) == []


def test_a_disk_that_may_not_be_written(gigacount: Run, disk: Path) -> None:
    assert gigacount("count", "p", "--out", disk / "out")[0] == 0
    before = content(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in (
        ("count", "c.jpg", "--out", disk / "new"),
        ("count", "p", "--out", disk / "out"),
        ("localize", "c.jpg", "--out", disk / "heads.csv"),
        ("count", "c.jpg", "--log", disk / "log", "--out", disk / "new"),
    ):
        one_line(gigacount(*arguments), "read-only")
    assert content(disk) == before


def test_a_scratch_disk_that_fills_up(
    gigacount: Run, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has room when decoding begins, and somebody else takes it meanwhile."""
    monkeypatch.setattr(source, "REDUCED_PIXELS", 20_000)
    subprocess.run(["mount", "-o", "remount,size=55m", str(disk)], check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 6000, 3), np.uint8)
    pyvips.Image.new_from_array(pixels).jpegsave(str(tmp_path / "large.jpg"), Q=95)

    def take_the_rest() -> None:
        wait_for(lambda: os.statvfs(disk).f_bavail < os.statvfs(disk).f_blocks)
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))

    somebody = Thread(target=take_the_rest)
    somebody.start()
    status, out, err = gigacount("count", tmp_path / "large.jpg", "--out", tmp_path / "out", "--scratch", disk)
    somebody.join()
    assert (status, out) == (1, "")
    assert "large.jpg: decoded into a scratch file" in err
    assert f"gigacount: {disk}: the scratch file of 0.05 GB cannot be written: No space left on device" in err
    assert not (tmp_path / "out" / "large.jpg.gigacount").exists()
    assert os.listdir(disk) == ["filler"]  # noqa: PTH208


# ---- pictures that change


def test_pictures_that_change_while_they_are_read(tmp_path: Path) -> None:
    """Of whatever format: an error in a line, no crash (a cut file that is mapped would be one), and no result."""
    command = [sys.executable, str(TESTS / "hostile_changes.py"), str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split(" ", 4) for line in done.stdout.splitlines()]
    assert [(name, how) for name, how, *_ in lines] == [(name, how) for name in FORMATS for how in HARMS]
    for name, how, looks, status, message in lines:
        assert int(looks) >= 1
        assert status == ("done" if how == "none" else "failed"), message
        if how == "gone":
            assert f"{name}: no such file or directory" in message
        elif how != "none":
            assert "changed while it was read" in message or "damaged or cut short" in message
    assert sorted(os.listdir(tmp_path / "out")) == sorted(f"{name}.none.gigacount" for name in FORMATS)  # noqa: PTH208


# ---- several at one output, and ends


@pytest.mark.slow
@pytest.mark.parametrize("command", ["count", "localize"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_two_commands_with_one_output(photos: Path, tmp_path: Path, command: str, overwrite: list[str]) -> None:
    """Each succeeds, or says that the other was first; what stands in the end is whole."""
    out = tmp_path / "out" / ("heads.csv" if command == "localize" else "")
    for _ in range(2):
        both = [start(photos, command, "c.jpg", "--out", out, *overwrite) for _ in range(2)]
        told = [end(process) for process in both]
        assert 0 in [status for status, _, _ in told] or not overwrite
        for status, said, err in told:
            if status:
                assert (status, said) == (2, "")
                assert "exists already" in err
            else:
                assert float(said) >= 0
        assert len({said for status, said, _ in told if status == 0}) <= 1
    names = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    if command == "count":
        assert names == ["c.jpg.gigacount", "count.json", "density.tif", "overlay.jpg"]
        assert json.loads((tmp_path / "out" / "c.jpg.gigacount" / "count.json").read_text())["count"] > 0
    else:
        assert names == ["heads.csv"]
        assert out.read_text().startswith("x,y,score")


def hidden(folder: Path) -> Callable[[], bool]:
    return lambda: folder.is_dir() and any(path.name.startswith(".") for path in folder.iterdir())


def test_sigterm_leaves_nothing_hidden_and_a_killed_one_is_tidied_up_after(tmp_path: Path) -> None:
    scene = ("synthesize", "--people", "5", "--out", "made", "--size")
    process = start(tmp_path, *scene, "12000x6000")
    wait_for(hidden(tmp_path / "made"))
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert end(process)[:2] == (143, "")
    assert list((tmp_path / "made").iterdir()) == []
    process = start(tmp_path, *scene, "12000x6000")
    wait_for(hidden(tmp_path / "made"))
    process.kill()
    end(process)
    assert hidden(tmp_path / "made")()
    assert end(start(tmp_path, *scene, "600x400"))[0] == 0
    assert not hidden(tmp_path / "made")()
