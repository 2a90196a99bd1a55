"""`data check`: every kind of fault is found, counted and named, and clean sets are clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
import tiny_datasets as tiny

from gigacount.datasets import read
from gigacount.datasets.check import (
    ALIKE,
    OUTSIDE,
    REPEATED,
    SAME_FILE,
    SIZE_DIFFERS,
    CheckReport,
    check,
    check_dataset,
)
from gigacount.datasets.entries import BAD_LABELS, EMPTY, NO_IMAGE, NO_LABELS, NOT_A_NUMBER, PASSED_OVER, UNREADABLE
from gigacount.errors import NotFoundError

REMARKS = {
    "nwpu": {NO_LABELS: 1},
    "mall": {NO_IMAGE: 798},
    "coco": {PASSED_OVER: 6},  # dogs and crowds
    "yolo": {PASSED_OVER: 3},  # cars
    "labelme": {PASSED_OVER: 3},  # trees
}
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures a.jpg, b.jpg and c.jpg without labels yet."""
    for i, name in enumerate("abc"):
        tiny.picture(tmp_path / f"{name}.jpg", i)
    return tmp_path


def check_csv(folder: Path, *rows: str) -> CheckReport:
    (folder / "heads.csv").write_text("\n".join(["image,x,y", *rows]))
    return check_dataset(f"csv:{folder}")


def found(report: CheckReport) -> list[tuple[str, int]]:
    return [(finding.kind, finding.times) for finding in report.findings]


@pytest.mark.parametrize("name", sorted(tiny.TINY))
def test_tiny_copies_are_clean(tmp_path, name):
    report = check_dataset(f"{name}:{tiny.TINY[name](tmp_path)}")
    assert report.counts() == REMARKS.get(name, {})
    assert (report.images, report.heads) == (3, 0 if name == "people-free" else 4)
    assert report.empty == (3 if name == "people-free" else 1)
    assert report.ok == (name != "nwpu")


def test_a_clean_report_is_one_line(folder):
    report = check_csv(folder, "a.jpg,1,2", "b.jpg,0,0", "c.jpg,,")
    assert list(report.lines()) == ["3 images, 2 heads, 1 images without a head"]
    assert report.ok


def test_heads_outside(folder):
    report = check_csv(folder, "a.jpg,1,2", "a.jpg,64.5,2", "a.jpg,3,-1", "b.jpg,64,48", "c.jpg,,")
    assert found(report) == [(OUTSIDE, 2)]
    assert str(folder / "a.jpg") in report.findings[0].message
    assert "2 of 3 heads, such as that at (64.5, 2), outside its 64 x 48 pixels" in report.findings[0].message
    assert not report.ok


def test_repeated_heads_are_a_notice(folder):
    report = check_csv(folder, "a.jpg,1,2", "a.jpg,5,5", "a.jpg,1,2", "a.jpg,1,2", "b.jpg,1,2", "c.jpg,,")
    assert found(report) == [(REPEATED, 2)]
    assert "2 of 4 heads, such as that at (1, 2), where another is" in report.findings[0].message
    assert report.ok


def test_sizes_that_differ(tmp_path):
    root = tiny.coco(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"width": 64', '"width": 640'))
    report = check_dataset(f"coco:{root}")
    assert found(report)[:2] == [(SIZE_DIFFERS, 1), (SIZE_DIFFERS, 1)]
    assert f"64 x 48 pixels, but 640 x 48 in {path}" in report.findings[0].message


def test_copies_and_lookalikes_are_notices(folder):
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes())
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (16, 17, 3), np.uint8)
    photograph = pyvips.Image.new_from_array(coarse.repeat(30, axis=0).repeat(30, axis=1))
    photograph.write_to_file(str(folder / "e.jpg"))
    photograph.resize(0.6).write_to_file(str(folder / "f.jpg"), Q=60)
    report = check_csv(folder, *(f"{name}.jpg,," for name in "abcdef"))
    assert [(finding.kind, finding.message) for finding in report.findings] == [
        (SAME_FILE, f"{folder / 'd.jpg'}: the same file as {folder / 'a.jpg'}"),
        (ALIKE, f"{folder / 'f.jpg'}: looks like {folder / 'e.jpg'}"),
    ]
    assert report.ok


@pytest.mark.parametrize("content", [b"", b"no picture", "truncated"])
def test_unreadable_pictures(folder, content):
    path = folder / "b.jpg"
    path.write_bytes(path.read_bytes()[:400] if content == "truncated" else content)
    report = check_csv(folder, "a.jpg,1,2", "b.jpg,1,2", "c.jpg,1,2")
    assert found(report) == [(UNREADABLE, 1)]
    assert "b.jpg" in report.findings[0].message
    assert "\n" not in report.findings[0].message


def test_what_the_reader_reports_is_in_the_report(folder):
    tiny.jhu(folder)
    truth = folder / "train" / "gt"
    (truth / "0001.txt").write_text("nan 1 2 2 1 0\n")
    (truth / "0003.txt").write_text("1 1\n")
    (truth / "0009.txt").write_text("")
    (folder / "test" / "gt" / "0002.txt").unlink()
    report = check_dataset(f"jhu:{folder}")
    assert found(report) == [(NOT_A_NUMBER, 1), (BAD_LABELS, 1), (NO_IMAGE, 1), (NO_LABELS, 1), (EMPTY, 1)]
    assert report.images == 0


def test_an_empty_set_is_a_finding_and_a_missing_one_an_error(folder):
    report = check_csv(folder)
    assert found(report) == [(EMPTY, 1)]
    assert not report.ok
    with pytest.raises(NotFoundError):
        check_dataset(f"mall:{folder}")


def test_lines_count_and_name_at_most_so_many(folder):
    rows = [f"missing{i}.jpg,1,2" for i in range(12)]
    report = check_csv(folder, "a.jpg,1,2", "b.jpg,99,2", "b.jpg,99,3", "c.jpg,1,2", *rows)
    lines = list(report.lines(most=3))
    assert lines[0] == "3 images, 4 heads, 0 images without a head"
    assert lines[1] == "12 x labels without an image"
    assert "missing0.jpg" in lines[2]
    assert lines[5] == "  ... and 9 more"
    assert lines[6] == "2 x head outside the image"
    assert len(lines) == 8


def test_samples_can_be_checked_without_a_spec(tmp_path):
    root = tiny.beijing_brt(tmp_path)
    assert check(read(f"beijing-brt:{root}", "test")).heads == 1
    assert check([]) == CheckReport(0, 0, 0, ())


@pytest.mark.slow
def test_known_faults_of_the_real_folders():
    root = SHARED / "shanghaitech"
    if not root.is_dir():
        pytest.skip("ShanghaiTech is not here")
    report = check_dataset(f"shanghaitech-a:{root}")
    assert report.counts() == {REPEATED: 63, ALIKE: 2}
    pairs = [finding.message for finding in report.findings if finding.kind == ALIKE]
    for later, earlier in (("IMG_169", "IMG_167"), ("IMG_283", "IMG_118")):
        assert any(later in pair and earlier in pair for pair in pairs)
