"""Results on disk: what stands in them, and that they are all there or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import tifffile

from gigacount.atomic import discard_leftovers, replacing, write_whole, writer
from gigacount.density import DensityMap
from gigacount.errors import OutputError
from gigacount.geometry import View, Window, whole
from gigacount.key import RunKey, content_hash, image_identity, is_same_image, plain_options
from gigacount.networks.record import NetworkRecord
from gigacount.options import CountOptions, PeakOptions, ReadOptions, StrategyOptions
from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.opened import Wanted
from gigacount.output.writers import WRITERS, write_result
from gigacount.points import Points
from gigacount.results import CountResult, Located, LocatedHeads, Looked

SIZE = (3001, 1999)
RECORD = NetworkRecord("light", "light", "light.safetensors", "abc")
RECORDS = {"network": RECORD}
KEY = RunKey.of(CountOptions(), RECORDS)
CHANGED = "the weights or the record of 'light' have changed"
HEADS = LocatedHeads(
    Points(np.array([[9, 9]], np.float32), np.ones(1), np.zeros(1, np.int64), np.zeros(1, np.int64)),
    {},
    Located(0.0, 0.0, 0),
)


def density(people: float = 500) -> DensityMap:
    canvas = DensityMap.empty(SIZE)
    canvas.cells[100:140, 200:280] = people / (40 * 80)
    return canvas


@pytest.fixture
def result(tmp_path: Path) -> CountResult:
    image = tmp_path / "square.jpg"
    image.write_bytes(b"a picture")
    views = [View(whole(SIZE), (1500, 1000)), View(Window(1600, 800, 640, 320), (640, 320), 1)]
    return CountResult(
        image=image,
        density=density(),
        looked=[Looked(views[0], 480.0), Looked(views[1], 500.0)],
        preview=np.full((1000, 1500, 3), 120, np.uint8),
        networks=KEY.networks,
        key=KEY.hash,
        options=CountOptions(),
        identity=image_identity(image) | content_hash(image),
        inferences=2,
        device="cpu",
        precision="fp32",
        seconds={"total": 1.5},
    )


def test_the_folder_is_named_after_the_whole_file_name() -> None:
    assert result_folder(Path("a/b.tif"), None) == Path("a/b.tif.gigacount")
    assert result_folder(Path("a/b.tif"), Path("out")) == Path("out/b.tif.gigacount")


def test_count_in_json_equals_the_sum_of_the_map(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ("tif", "overlay"))
    content = json.loads((folder.path / "count.json").read_text())
    cells = tifffile.imread(folder.path / "density.tif")
    assert content["count"] == pytest.approx(float(cells.sum(dtype=np.float64)), rel=1e-3)
    assert content["count"] == pytest.approx(500, rel=1e-5)
    assert content["image"]["width"] == 3001
    assert content["windows"][1]["left"] == 1600
    assert sorted(p.name for p in folder.path.iterdir()) == ["count.json", "density.tif", "overlay.jpg"]


def test_the_map_is_a_tiled_float_tiff_that_says_what_it_holds(result: CountResult, tmp_path: Path) -> None:
    WRITERS["tif"](result, tmp_path / "density.tif")
    with tifffile.TiffFile(tmp_path / "density.tif") as file:
        page = file.pages[0]
        assert page.is_tiled
        assert page.dtype == np.float32
        assert page.shape == (250, 376)
        about = json.loads(page.description)
        np.testing.assert_array_equal(page.asarray(), result.density.cells)
    assert about["cell_px"] == 8
    assert (about["image_width"], about["image_height"]) == SIZE
    assert about["unit"] == "people per cell"


def found(result: CountResult, folder: ResultFolder, key: RunKey = KEY, formats: tuple[str, ...] = ()) -> object:
    assert result.image is not None
    return Wanted(key, formats).finished(folder, result.image)


def obstacle(result: CountResult, folder: ResultFolder, wanted: Wanted) -> str:
    assert result.image is not None
    return wanted.obstacle(folder, result.image).removeprefix(f"{folder.path} holds a result ")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (
            RunKey.of(CountOptions(strategy="full"), RECORDS),
            "(--strategy was adaptive, is full now); use --overwrite to replace it, or --out",
        ),
        (RunKey.of(CountOptions(looking=StrategyOptions(levels=5)), RECORDS), "--levels was 10, is 5 now"),
        (
            RunKey.of(CountOptions(looking=StrategyOptions(peaks=PeakOptions(relative=False))), RECORDS),
            "--absolute-threshold is given now",
        ),
        (
            RunKey.of(CountOptions(looking=StrategyOptions(max_size=(640, 480))), RECORDS),
            "--max-size was 2560,1440, is 640,480",
        ),
        (RunKey.of(CountOptions(min_score=0.5), RECORDS), "--min-score was not set, is 0.5 now"),
        (RunKey.of(CountOptions(reading=ReadOptions(value_range=(0, 9))), RECORDS), "--range was not set, is 0,9 now"),
        (RunKey.of(CountOptions(settings=("fuse=true",)), RECORDS), "--set was not set, is fuse=true now"),
        (RunKey.of(CountOptions(), {"network": replace(RECORD, sha256="def")}), CHANGED),
        (RunKey.of(CountOptions(), {"network": replace(RECORD, density_divisor=2.0)}), CHANGED),
        (RunKey.of(CountOptions(), {"network": replace(RECORD, min_score=0.5)}), CHANGED),
        (
            RunKey.of(CountOptions(coarse_network="light"), {**RECORDS, "coarse_network": RECORD}),
            "--coarse-network was not set, is light now",
        ),
        (replace(KEY, rules=KEY.rules + 1), "this version of gigacount counts differently"),
    ],
)
def test_a_result_by_another_key_is_not_reused_and_what_differs_is_named(
    result: CountResult, tmp_path: Path, key: RunKey, words: str
) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ())
    assert found(result, folder, key) is None
    assert words in obstacle(result, folder, Wanted(key))


def test_a_result_by_the_same_key_is_reused(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    assert found(result, folder) is None
    content = write_result(result, folder, ("tif",))
    described = replace(RECORD, about="other words", errors=[{"mae": 1.0}], folder=tmp_path)
    assert found(result, folder, RunKey.of(CountOptions(), {"network": described}), ("tif",)) == content
    remedy = "; use --overwrite to count again and add what is missing"
    assert obstacle(result, folder, Wanted(KEY, ("tif", "overlay"))) == f"without overlay.jpg{remedy}"
    assert obstacle(result, folder, Wanted(KEY, (), locate=True)) == f"without located heads{remedy}"


def test_a_copied_picture_is_known_by_its_content_and_a_changed_one_is_not(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ())
    assert result.image is not None
    os.utime(result.image, ns=(1, 1))
    assert found(result, folder) is not None
    result.image.write_bytes(b"A picture")
    assert found(result, folder) is None


def test_options_that_cannot_change_a_count_are_not_compared() -> None:
    elsewhere = CountOptions(reading=ReadOptions(scratch_folder=Path("/x"), max_pixels=7))
    assert plain_options(CountOptions()) == plain_options(elsewhere)
    assert plain_options(CountOptions()) != plain_options(CountOptions(reading=ReadOptions(allow_damaged=True)))


def test_an_existing_result_is_not_overwritten_silently(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ())
    with pytest.raises(OutputError, match="--overwrite"):
        folder.require_free(overwrite=False)
    folder.require_free(overwrite=True)


def test_files_are_written_side_by_side(result: CountResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Barrier(2, timeout=20)
    for name in ("tif", "overlay"):
        monkeypatch.setitem(WRITERS, name, lambda result, folder: meeting.wait() and None)
    write_result(result, ResultFolder(tmp_path / "r.gigacount"), ("tif", "overlay"))


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only")])
def test_a_failing_write_leaves_what_was_there(
    result: CountResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ())

    def fail(result: CountResult, path: Path) -> None:
        path.write_text("half written")
        raise OSError(code, os.strerror(code))

    monkeypatch.setitem(WRITERS, "tif", fail)
    with pytest.raises(OutputError, match=words):
        write_result(replace(result, density=density(7)), folder, ("tif",))
    finished = folder.finished()
    assert finished is not None
    assert finished["count"] == pytest.approx(500, rel=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.gigacount", "square.jpg"]


def test_an_overwrite_replaces_everything(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ("tif",))
    write_result(replace(result, density=density(7)), folder, ())
    assert sorted(p.name for p in folder.path.iterdir()) == ["count.json"]
    finished = folder.finished()
    assert finished is not None
    assert finished["count"] == pytest.approx(7, rel=1e-5)


def test_one_more_format_leaves_the_files_of_the_same_result(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ("tif",))
    earlier = (folder.path / "density.tif").read_bytes()
    (folder.path / "report.html").write_text("with an audit")  # as gigacount audit --report leaves it
    content = write_result(result, folder, ("overlay",))
    assert content["formats"] == ["overlay", "tif", "report"]
    assert content == folder.finished()
    files = ["count.json", "density.tif", "overlay.jpg", "report.html"]
    assert sorted(path.name for path in folder.path.iterdir()) == files
    assert (folder.path / "density.tif").read_bytes() == earlier
    assert found(result, folder, formats=("tif", "overlay")) == content


def test_heads_that_were_located_stay_when_the_same_image_is_counted(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(replace(result, heads=HEADS), folder, ("csv",))
    content = write_result(result, folder, ("tif",))
    assert content["located"] == len(HEADS.points)
    assert sorted(path.name for path in folder.path.iterdir()) == ["count.json", "density.tif", "points.csv"]


@pytest.mark.parametrize("change", ["key", "count", "image"])
def test_files_that_are_out_of_date_go(result: CountResult, tmp_path: Path, change: str) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    write_result(result, folder, ("tif",))
    other = {"key": replace(result, key="other"), "count": replace(result, density=density(501)), "image": result}
    if change == "image":
        assert result.image is not None
        result.image.write_bytes(b"another image")
    content = write_result(other[change], folder, ("overlay",))
    assert content["formats"] == ["overlay"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["count.json", "overlay.jpg"]


def test_leftovers_of_killed_processes_go_and_an_old_result_comes_back(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    dead = f".r.gigacount.{writer()}.999999999.0123abcd"
    (tmp_path / dead).mkdir()
    write_result(result, folder, ())
    assert not (tmp_path / dead).exists()
    folder.path.rename(tmp_path / f"{dead}.old")  # as if killed between the two renames of an overwrite
    discard_leftovers(folder.path)
    assert folder.finished() is not None
    assert list(tmp_path.glob(".*")) == []


def test_work_under_way_elsewhere_is_left_alone(result: CountResult, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "r.gigacount")
    other_host, alive = ".r.gigacount.elsewhere.0.1.0123abcd", f".r.gigacount.{writer()}.{os.getpid()}.0123abcd"
    for name in (other_host, alive):
        (tmp_path / name).mkdir()
    write_result(result, folder, ())
    assert (tmp_path / other_host).exists()
    assert (tmp_path / alive).exists()


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.gigacount").write_text("mine")
    with pytest.raises(OutputError, match="a file, not a folder"):
        ResultFolder(tmp_path / "r.gigacount").require_free(overwrite=True)


def test_a_broken_count_json_is_no_result(tmp_path: Path) -> None:
    for content in ("", "[1]", "{"):
        (tmp_path / "count.json").write_text(content)
        assert ResultFolder(tmp_path).finished() is None


def test_a_folder_is_listed_once_for_very_many_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    for number in range(20):
        with ResultFolder(tmp_path / f"{number}.gigacount").replacing() as fresh:
            (fresh / "count.json").write_text("{}")
    assert listed.count(tmp_path) == 1


def test_files_have_the_rights_that_the_user_wants_and_no_thread_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # it is the whole process's: for a moment other threads had none
        with ResultFolder(tmp_path / "r.gigacount").replacing() as fresh:
            (fresh / "count.json").write_text("{}")
        with replacing(tmp_path / "heads.csv", overwrite=False) as file:
            file.write_text("x,y")
        write_whole(tmp_path / "summary.csv", b"path")
    finally:
        monkeypatch.undo()
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert modes == {"r.gigacount": "0o750", "heads.csv": "0o640", "summary.csv": "0o640"}


def test_a_changed_world_file_makes_another_picture(tmp_path: Path) -> None:
    image = tmp_path / "map.tif"
    image.write_bytes(b"a picture")
    alone = image_identity(image) | content_hash(image)
    (tmp_path / "map.tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    placed = image_identity(image) | content_hash(image)
    assert is_same_image(image, placed)
    assert not is_same_image(image, alone)
    (tmp_path / "map.tfw").write_text("1\n0\n0\n-1\n6\n66\n")
    assert not is_same_image(image, placed)
