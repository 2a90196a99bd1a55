"""Which pictures a batch works on, what they are called, and where their results go."""

from __future__ import annotations

import io
import os
import string
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigacount.atomic import fitting_name
from gigacount.batch import share, work_list
from gigacount.batch.worklist import inner_name, is_image, read_list
from gigacount.errors import UsageError
from gigacount.options.batch import slurm_shard
from gigacount.output.folder import result_folder

JPEG = b"\xff\xd8\xff\xe0 picture"
OUT = Path("out")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(*names: str, content: bytes = JPEG) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def names(*arguments: str, recursive: bool = False) -> list[str]:
    return [item.name for item in work_list([Path(argument) for argument in arguments], OUT, recursive)]


HEADS = {
    "jpeg": b"\xff\xd8\xff\xe1",
    "png": b"\x89PNG\r\n\x1a\n\0\0",
    "tiff": b"II*\0\x08\0\0\0",
    "big-endian tiff": b"MM\0*\0\0\0\x08",
    "bigtiff": b"II+\0\x08\0\0\0",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "gif": b"GIF89a\x01\0",
    "bmp": b"BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x40",
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0",
    "jxl": b"\xff\x0a\xfa\x7f",
    "avif": b"\0\0\0\x20ftypavif\0\0",
    "heic": b"\0\0\0\x18ftypheic\0\0",
    "ppm": b"P6\n# by hand\n3 2 255\n",
}
OTHERS = {
    "empty": b"",
    "text": b"BM is how this text starts, but it goes on",
    "notes": b"P5 is a letter",
    "mp4": b"\0\0\0\x20ftypisom\0\0",
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "zip": b"PK\x03\x04",
    "pdf": b"%PDF-1.7",
    "elf": b"\x7fELF",
}


@pytest.mark.parametrize("kind", HEADS)
def test_pictures_are_known_by_their_content(kind: str) -> None:
    make("file.dat", "file", content=HEADS[kind])
    assert is_image(HEADS[kind])
    assert names(".") == ["file", "file.dat"]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_left_out_unless_they_end_like_a_picture(kind: str) -> None:
    make("notes.md", "b.TIF", content=OTHERS[kind])
    assert not is_image(OTHERS[kind])
    assert names(".") == ["b.TIF"], "a damaged picture must not be passed over in silence"


def test_folders_are_walked_in_order_and_deep_only_when_asked_for() -> None:
    make("p/b.jpg", "p/a.jpg", "p/c/a.jpg", "p/.hidden.jpg", "p/.git/a.jpg", "p/a.jpg.gigacount/overlay.jpg")
    assert names("p") == ["a.jpg", "b.jpg"]
    assert names("p", recursive=True) == ["a.jpg", "b.jpg", "c/a.jpg"]
    (item,) = work_list([Path("p/c")], OUT)
    assert item.folder == Path("out/a.jpg.gigacount")
    assert item.path == Path("p/c/a.jpg")


def test_results_are_no_pictures_whichever_way_they_are_found() -> None:
    make("p/a.jpg", "out/a.jpg.gigacount/overlay.jpg", "out/kept.jpg", "p/a.jpg.gigacount/overlay.jpg")
    Path("list.txt").write_text("p/a.jpg\np/a.jpg.gigacount/overlay.jpg\n")
    assert names(".", recursive=True) == ["p/a.jpg"], "nor is anything else in --out"
    assert names("list.txt") == ["p/a.jpg"]
    assert names("p/**/*.jpg") == ["p/a.jpg"]


def test_several_arguments_are_named_by_their_paths() -> None:
    make("a/x.jpg", "b/x.jpg", "x.jpg")
    assert names("a", "b", "x.jpg") == ["a/x.jpg", "b/x.jpg", "x.jpg"]


def test_a_picture_is_worked_on_once_however_often_it_is_named() -> None:
    make("a/x.jpg")
    assert names("a", "a/x.jpg", "a/../a/x.jpg", str(Path("a/x.jpg").absolute())) == ["a/x.jpg"]


def test_patterns_and_what_fits_none() -> None:
    make("a/x.jpg", "a/b/y.jpg", "a/[1].jpg", "a/n.txt")
    assert names("a/**/*.jpg") == ["a/[1].jpg", "a/b/y.jpg", "a/x.jpg"]
    assert names("a/[1].jpg") == ["a/[1].jpg"], "a file of that name comes before the pattern"
    with pytest.raises(UsageError, match=r"no image fits the pattern 'a/\*.tif'"):
        names("a/*.tif")


def test_nothing_at_all_is_said() -> None:
    make("a/b/x.jpg")
    with pytest.raises(UsageError, match="a: no images there; --recursive looks into"):
        names("a")


def test_a_missing_picture_stays_on_the_list_to_fail_with_its_reason() -> None:
    assert names("none.jpg") == ["none.jpg"]


def test_lists_hold_paths_comments_and_folders() -> None:
    make("photos/a.jpg", "photos/b.jpg", "elsewhere/c.jpg", "elsewhere/d e.jpg")
    Path("elsewhere/list.txt").write_bytes(
        b"\xef\xbb\xbf# pictures\r\n\r\nphotos\r\n  c.jpg\t\r\nd e.jpg\r\nnone.jpg\r\nphotos/a.jpg\r\n"
    )
    expected = ["photos/a.jpg", "photos/b.jpg", "elsewhere/c.jpg", "elsewhere/d e.jpg", "none.jpg"]
    assert names("elsewhere/list.txt") == expected
    make("picture.txt")
    assert names("picture.txt") == ["picture.txt"], "a picture by its content is no list"


def test_lists_may_be_separated_by_zeros_and_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a\nb.jpg", "c.jpg")
    stream = io.TextIOWrapper(io.BytesIO(b"a\nb.jpg\0c.jpg\0"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert names("-") == ["a\nb.jpg", "c.jpg"]


def test_names_that_are_no_utf8_are_kept() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    make(name)
    Path("list.txt").write_bytes(b"caf\xe9.jpg\n")
    (item,) = work_list([Path("list.txt")], OUT)
    assert item.path.exists()
    assert item.key.isalnum()


def test_a_list_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    make("list.txt", content=b"a.jpg")
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UsageError, match=r"list\.txt: cannot read this list: Permission denied"):
        read_list(Path("list.txt"))


HOSTILE = ["/etc/passwd", "../../x.jpg", "a/../../../x.jpg", "/x.jpg", "a.gigacount/x.jpg", ".gigacount/claims/x", "/"]


@pytest.mark.parametrize("entry", HOSTILE)
def test_no_entry_of_a_list_leads_out_of_the_output_folder(entry: str) -> None:
    Path("list.txt").write_text(entry + "\nb.jpg\n")
    items = [item for item in work_list([Path("list.txt")], OUT) if item.path != Path("b.jpg")]
    for item in items:
        assert ".." not in item.folder.parts
        assert OUT in item.folder.parents
        assert not any(part.endswith(".gigacount") for part in item.folder.parts[:-1])


@given(st.text(string.printable + "é\udce9", min_size=1).map(lambda text: "/" + text.replace("\0", "")))
def test_names_are_relative_and_below(source: str) -> None:
    for start in ("/", "/a", source):
        name = PurePosixPath(inner_name(os.path.normpath(source), os.path.normpath(start)))
        assert not name.is_absolute()
        assert ".." not in name.parts
        assert name.parts


def test_links_to_pictures_are_followed_and_links_to_folders_are_not() -> None:
    make("p/a.jpg", "q/b.jpg")
    Path("p/link.jpg").symlink_to("../q/b.jpg")
    Path("p/gone.jpg").symlink_to("nowhere.jpg")
    Path("p/circle").symlink_to(".", target_is_directory=True)
    assert names("p", recursive=True) == ["a.jpg", "gone.jpg", "link.jpg"]


def test_a_link_to_a_picture_of_the_list_is_left_out() -> None:
    make("p/b.jpg", "q/c.jpg")
    Path("p/a.jpg").symlink_to("b.jpg")
    Path("p/d.jpg").symlink_to("../q/c.jpg")
    Path("p/e.jpg").symlink_to("../q/c.jpg")
    assert names("p") == ["b.jpg", "d.jpg"], "the picture itself, or else the first of its links"
    assert names("p/a.jpg", "p/b.jpg") == ["p/b.jpg"]


def test_thumbnails_and_tiles_are_no_photographs_and_that_is_said() -> None:
    make("p/a.jpg", "p/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "p/.thumbnails/a.jpg", "p/scan_files/0/0_0.jpg")
    make("p/zoom/TileGroup0/0-0-0.jpg", "p/notes_files/b.jpg")
    make("p/scan.dzi", "p/zoom/ImageProperties.xml", content=b"<Image/>")
    said: list[str] = []
    found = [item.name for item in work_list([Path("p")], OUT, True, said.append)]
    assert found == ["a.jpg", "notes_files/b.jpg"]
    assert said == [
        "left out 1 folder of thumbnails (.thumbnails), 1 folder of thumbnails (@eaDir), "
        "2 folders of tiles of a zoomable image"
    ]


@pytest.mark.parametrize("ending", ["dng", "CR2", "psd", "jxr", "heic", "svs"])
def test_pictures_of_formats_that_may_not_be_read_are_never_passed_over(ending: str) -> None:
    make(f"p/a.{ending}", content=b"of a camera")
    assert names("p") == [f"a.{ending}"]


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".jpg", "é" * 125 + ".jpg", "n" * 246 + ".jpg", "\U0001f600" * 62 + ".jpg"]
)
def test_names_up_to_255_bytes_have_a_result_folder(name: str) -> None:
    make(f"p/{name}", "p/a.jpg")
    for out in (OUT, None):
        folders = [item.folder for item in work_list([Path("p")], out)]
        assert all(len(os.fsencode(folder.name)) <= 255 for folder in folders)
        for folder in folders:
            folder.mkdir(parents=True)
        assert folders[-1 if name[0] > "a" else 0] == result_folder(Path("p") / name, out)


def test_a_long_name_that_is_cut_is_not_another_ones() -> None:
    folders = {fitting_name("n" * 240 + str(n), ".gigacount") for n in range(100, 200)}
    assert len(folders) == 100


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_lists_of_windows_shells_are_read(encoding: str) -> None:
    make("ü.jpg", "b.jpg")
    bom = b"" if encoding == "utf-16" else b"\xfe\xff"
    Path("list.txt").write_bytes(bom + "ü.jpg\r\nb.jpg\r\n".encode(encoding))
    assert names("list.txt") == ["ü.jpg", "b.jpg"]


@pytest.mark.parametrize("content", [JPEG, b"PK\x03\x04\x00\x08zip", b"x" * 5000 + b"\n", bytes(range(256))])
def test_what_is_no_list_is_said_and_not_printed(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(UsageError, match="not a list of paths") as error:
        names("-")
    assert str(error.value).isprintable()


def test_pipes_and_folders_that_end_like_pictures_do_not_stop_the_walk() -> None:
    make("p/a.jpg/b.jpg", "p/c.jpg")
    os.mkfifo("p/pipe.jpg")
    assert names("p", recursive=True) == ["a.jpg/b.jpg", "c.jpg"]


def test_two_pictures_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root and from the working folder the same path: the second one gets a name of its own."""
    outside = Path(*tmp_path.parts[1:]) / "x.jpg"
    make("work/x.jpg", "x.jpg", str(Path("work") / outside))
    monkeypatch.chdir("work")
    items = work_list([outside, Path("../x.jpg"), Path("x.jpg")], OUT)
    assert len({item.folder for item in items}) == 3
    assert items[0].name == str(outside)
    assert items[1].name.startswith(str(outside.with_suffix("")) + "~")
    assert items[1].name.endswith(".jpg")
    assert [item.key for item in items] == [item.key for item in work_list([i.path for i in items], OUT)]


def test_a_list_that_is_missing_is_wrong_usage_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt: cannot read this list: No such file or directory"):
        work_list([tmp_path / "none.txt"], None)


@given(st.integers(0, 40), st.integers(1, 8))
def test_shards_partition_the_list(count: int, parts: int) -> None:
    items = list(range(count))
    dealt = [share(items, (part, parts)) for part in range(1, parts + 1)]  # type: ignore[arg-type, type-var]
    assert sorted(item for shard in dealt for item in shard) == items  # type: ignore[type-var]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def slurm(task: int, count: int, first: int = 0, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "COUNT": count, "MIN": first, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_a_slurm_array_gives_the_shard() -> None:
    assert slurm_shard(slurm(0, 4)) == (1, 4)
    assert slurm_shard(slurm(8, 8, first=1)) == (8, 8)
    assert slurm_shard(slurm(6, 4, step=2)) == (4, 4)
    with pytest.raises(UsageError, match="gaps"):
        slurm_shard(slurm(7, 3, first=1))
    with pytest.raises(UsageError, match="array job"):
        slurm_shard({})
