"""The command line over many images: arguments, answers, messages and exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from batch_fakes import FakeWork
from batch_tools import pictures
from command_line import Done, gigacount
from untrained import untrained_light

from gigacount.batch import CountWork, Item, Row, Tally, Task, work_list
from gigacount.batch.claims import Claims
from gigacount.batch.ledger import SharedLedger
from gigacount.batch.work import attempt
from gigacount.cli.batch import Answering
from gigacount.cli.batch import work_through as work
from gigacount.cli.progress import Answers, Live, PlainProgress, state
from gigacount.cli.show import duration
from gigacount.errors import ImageError, UsageError
from gigacount.options import BatchOptions, CountOptions
from gigacount.options.batch import parse_gpus, parse_shard

Capture = pytest.CaptureFixture[str]


def answer(folder: Path, *arguments: str, **settings: Any) -> int:
    """Run in `folder` as the working folder, with work that needs no pixels."""
    answering = Answering(settings.pop("as_json", False), settings.pop("quiet", False))
    before = Path.cwd()
    os.chdir(folder)
    try:
        return work([Path(argument) for argument in arguments], FakeWork(), BatchOptions(**settings), answering)
    finally:
        os.chdir(before)


def test_one_picture_prints_its_number(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path, {"a.jpg": "four"})
    assert answer(tmp_path, "a.jpg", out=Path("out")) == 0
    assert answer(tmp_path, "a.jpg", out=Path("out")) == 0
    output = capsys.readouterr()
    assert output.out == "5.0\n5.0\n"
    assert output.err == "a.jpg: already counted; the result is in out/a.jpg.gigacount\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.gigacount"]
    with pytest.raises(ImageError, match="no such file"):
        answer(tmp_path, "none.jpg")


def test_many_pictures_print_paths_and_counts_in_the_order_of_the_list(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path / "p", {"a.jpg": "slow", "b.jpg": "bad", "c/d.jpg": "two"})
    assert answer(tmp_path, "p", out=Path("out"), recursive=True) == 1
    output = capsys.readouterr()
    assert output.out == "p/a.jpg\t5.0\np/c/d.jpg\t4.0\n"
    assert "gigacount: p/b.jpg: b.jpg: a damaged picture\n" in output.err
    assert output.err.endswith("3 images: 2 counted, 1 failed; see out/summary.csv\n")
    assert answer(tmp_path, "p", out=Path("out"), recursive=True, quiet=True) == 1
    output = capsys.readouterr()
    assert output.out == "p/a.jpg\t5.0\np/c/d.jpg\t4.0\n"
    assert output.err == "gigacount: p/b.jpg: b.jpg: a damaged picture\n"


def test_a_picture_that_goes_into_the_folder_of_a_batch_joins_it(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path, {"p/a.jpg": "one", "p/b.jpg": "four"})
    answer(tmp_path, "p/a.jpg", "p/b.jpg", out=Path("out"))
    pictures(tmp_path, {"p/c/a.jpg": "longer"})
    capsys.readouterr()
    assert answer(tmp_path, "p/c/a.jpg", out=Path("out")) == 0
    assert capsys.readouterr().out == "7.0\n"
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["p/a.jpg", "p/b.jpg", "p/c/a.jpg"]


@pytest.mark.parametrize("arguments", [["p", "p/a.jpg"], ["p/a.jpg", "p"]])
def test_an_image_has_one_line_however_it_was_named(tmp_path: Path, arguments: list[str]) -> None:
    """Its folder's batch calls it a.jpg, one of its own p/a.jpg."""
    pictures(tmp_path, {"p/a.jpg": "one", "p/b.jpg": "four"})
    pictures(tmp_path, {"q/c.jpg": "four", "q/d.jpg": "four"})
    answer(tmp_path, "q/c.jpg", "q/d.jpg", out=Path("out"))
    for argument in arguments:
        answer(tmp_path, argument, out=Path("out"))
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == ["p/a.jpg", "p/b.jpg", "q/c.jpg", "q/d.jpg"]
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())["images"]) == 4


def test_stopping_early_says_how_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path / "p", {f"{n}.jpg": "bad" if n == 1 else "fine" for n in range(5)})
    assert answer(tmp_path, "p", out=Path("out"), max_failures=1, workers=1) == 1
    assert "stopped after 2 of 5 images (1 counted, 1 failed); see out/summary.csv; run" in capsys.readouterr().err


def test_a_name_cannot_forge_an_answer_and_moves_no_cursor(tmp_path: Path, capsys: Capture) -> None:
    names = ["a\t9.0\nb.jpg", "\x1b[2Jc.jpg", "=d.jpg", "\x9be.jpg", "f\rg.jpg"]
    pictures(tmp_path / "p", {name: "bad" if name[0] == "=" else "four" for name in names})
    assert answer(tmp_path, "p", out=Path("out")) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        r"p/\x1b[2Jc.jpg" + "\t5.0", r"p/a\t9.0\nb.jpg" + "\t5.0", r"p/f\rg.jpg" + "\t5.0", r"p/\x9be.jpg" + "\t5.0",
    ]  # fmt: skip
    assert (output.out + output.err).replace("\n", "").replace("\t", "").isprintable()
    text = (tmp_path / "out" / "summary.csv").read_text()
    assert len(text.splitlines()) == 6
    assert text.replace("\n", "").isprintable()
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["images"]
    assert {Path(row["path"]).name for row in rows} == set(names), "JSON has them as they are"


def test_json_has_a_line_for_a_failure(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path, {"p/a.jpg": "bad", "p/b.jpg": "four"})
    assert answer(tmp_path, "p", out=Path("out"), as_json=True) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {
        "count": None,
        "image": {"path": str(tmp_path / "p" / "a.jpg")},
        "status": "failed",
        "message": "a.jpg: a damaged picture",
    }
    assert lines[1]["count"] == 5.0
    with pytest.raises(ImageError):
        answer(tmp_path, "p/a.jpg", as_json=True)
    assert json.loads(capsys.readouterr().out) == lines[0]


def test_pipes_and_pictures_on_standard_input_are_refused_in_a_line(tmp_path: Path) -> None:
    pictures(tmp_path, {"a.jpg": "four"})
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match=r"pipe\.jpg: a pipe or device, not a file"):
        answer(tmp_path, "pipe.jpg")
    (tmp_path / "list.txt").write_text("pipe.jpg\na.jpg\n")
    assert answer(tmp_path, "list.txt", out=Path("out")) == 1


def test_one_picture_is_not_several(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path / "p", {"a.jpg": "four"})
    answer(tmp_path, "p", out=Path("out"))
    assert "1 image: 1 counted" in capsys.readouterr().err


def test_waiting_for_another_process_is_said(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "p", {"a.jpg": "four", "b.jpg": "five"})
    answer(tmp_path, "p", out=Path("out"))
    other = Claims(tmp_path / "out" / ".gigacount" / "claims")
    (item, _) = work_list([tmp_path / "p"], tmp_path / "out")
    shutil.rmtree(item.folder)
    other.take(item.key)
    holder = SharedLedger.holder

    def once_said(ledger: SharedLedger, item: Item) -> str:
        said = holder(ledger, item)
        other.close()
        return said

    monkeypatch.setattr(SharedLedger, "holder", once_said)
    assert answer(tmp_path, "p", out=Path("out")) == 0
    assert f"waiting for 1 image that process {os.getpid()} on" in capsys.readouterr().err


def test_an_empty_part_of_a_list_is_no_failure(tmp_path: Path, capsys: Capture) -> None:
    pictures(tmp_path / "p", {"a.jpg": "fine"})
    assert answer(tmp_path, "p", out=Path("out"), shard=(2, 2)) == 0
    assert "0 images: none in this part" in capsys.readouterr().err


def test_answers_keep_the_order_and_what_was_held_back_comes_out_at_the_end(tmp_path: Path) -> None:
    items = work_list([Path(f"{name}.jpg") for name in "abcd"], tmp_path)
    said: deque[str] = deque()
    answers = Answers(items, Answering().line, said.append, with_paths=True)
    for number in (1, 3, 0):
        answers.finished(items[number], Row(str(items[number].path), count=float(number)), False)
    assert list(said) == ["a.jpg\t0.0", "b.jpg\t1.0"]
    answers.flush()
    assert list(said) == ["a.jpg\t0.0", "b.jpg\t1.0", "d.jpg\t3.0"]


def test_progress_says_what_is_done_and_left(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally(10, done=2, failed=2, began=100.0)
    tally.reused = 1
    monkeypatch.setattr("gigacount.batch.observers.time.monotonic", lambda: 100.0 + 40.0)
    assert state(tally) == "5 of 10 images, 2 failed, 50 s left"
    assert [duration(seconds) for seconds in (9.6, 59.4, 90, 3600 * 3 + 1200)] == [
        "10 s",
        "59 s",
        "2 min",
        "3 h 20 min",
    ]
    plain = PlainProgress()
    plain.began(tally)
    (item,) = work_list([Path("a.jpg")], None)
    plain.finished(item, Row("a.jpg"), False)
    assert capsys.readouterr().err == "", "the first line comes after ten seconds"
    monkeypatch.setattr("gigacount.batch.observers.time.monotonic", lambda: 100.0 + 52.0)
    plain.finished(item, Row("a.jpg"), False)
    assert capsys.readouterr().err == "5 of 10 images, 2 failed, 1 min left\n"


def test_the_live_display_follows_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live()
    item = Item(Path("a[b].jpg"), "a[b].jpg", Path("a[b].jpg.gigacount"))
    tally = Tally(2)
    live.began(tally)
    live.started(item)
    live.looked(item, 3, 21)
    tasks = {task.description: task for task in live.bars.tasks}
    assert tasks["a[b].jpg"].fields["state"] == "3/21 windows"
    assert tasks["images"].total == 2
    tally.add(Row("a[b].jpg", count=1.0), reused=False)
    live.finished(item, Row("a[b].jpg", count=1.0), False)
    assert [task.description for task in live.bars.tasks] == ["images"]
    assert live.bars.tasks[0].completed == 1


def test_values_are_parsed_or_explained() -> None:
    assert parse_shard("2/8") == (2, 8)
    assert parse_shard("") == (1, 1)
    assert parse_gpus("0,2") == (0, 2)
    assert parse_gpus("") == ()
    for text in ("2", "a/b", "1/", "-1/2"):
        with pytest.raises(UsageError, match="must look like"):
            parse_shard(text)
    for text in ("a", "0,", "-1", "0 1"):
        with pytest.raises(UsageError, match="must be numbers"):
            parse_gpus(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shard", (3, 2)), ("shard", (0, 2)), ("workers", 0), ("gpus", (1, 1)), ("max_failures", 0), ("engine", "spark")],
)
def test_options_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        BatchOptions(**{name: value})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pictures, one of them damaged, and beside it weights that have learned nothing."""
    folder = tmp_path_factory.mktemp("photos")
    untrained_light(folder)
    (folder / "p" / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 160, 3), np.uint8)
    for name in ("a.png", "deep/a.png"):
        pyvips.Image.new_from_array(pixels).write_to_file(str(folder / "p" / name))
    (folder / "p" / "broken.png").write_text("no picture")
    return folder


def counted(folder: Path, *arguments: str, stdin: str = "") -> Done:
    return gigacount("count", *arguments, "--network", "tiny.toml", "--format", "json", cwd=folder, stdin=stdin)


def test_json_of_a_batch_is_what_the_worker_wrote_and_is_read_from_no_file(photos: Path) -> None:
    options = CountOptions(network=str(photos / "tiny.toml"), device="cpu")
    item = Item(photos / "p" / "a.png", "a.png", photos / "inline" / "a.png.gigacount")
    counting = CountWork(options, (), with_content=True)
    counting.prepare(lambda message: None)
    row = attempt(counting, Task(item, replace=False), None)
    written = (item.folder / "count.json").read_text()
    assert counting.earlier(item) == row
    content = json.loads(written)
    assert (row.low, row.high) == (content["interval"]["low"], content["interval"]["high"])
    shutil.rmtree(item.folder)
    line = Answering(as_json=True).line(item, row)
    assert line is not None
    assert json.loads(line) == content
    other = Answering(as_json=True).line(item, replace(row, content=None))
    assert other is not None
    assert json.loads(other)["status"] == "failed"


def test_a_folder_is_counted_by_the_real_thing_and_found_again(photos: Path) -> None:
    first = counted(photos, "p", "-r", "--out", "out", "--log", "log.jsonl")
    assert first.returncode == 1
    assert re.fullmatch(r"p/a\.png\t\d+\.\d\np/deep/a\.png\t\d+\.\d\n", first.stdout)
    assert "broken.png" in first.stderr
    assert "Traceback" not in first.stderr
    again = counted(photos, "-", "-r", "--out", "out", "--json", stdin="p\n")
    assert again.returncode == 1
    # A list is named by paths, a folder by what is inside it: other results, equal counts.
    answers = [json.loads(line) for line in again.stdout.splitlines()]
    assert [answer["count"] is None for answer in answers] == [False, True, False], "a failure has its line, too"
    assert answers[1]["status"] == "failed"
    assert answers[1]["image"]["path"] == str(photos / "p" / "broken.png")
    counts = [f"{answer['count']:.1f}" for answer in answers if answer["count"] is not None]
    assert counts == [line.split("\t")[1] for line in first.stdout.splitlines()]
    third = counted(photos, "p", "-r", "--out", "out")
    assert third.stdout == first.stdout
    assert "2 counted before, 1 failed" in third.stderr
    with (photos / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["path"], row["status"], row["width"]) for row in rows) == [
        ("p/a.png", "done", "160"),
        ("p/broken.png", "failed", ""),
        ("p/deep/a.png", "done", "160"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_gpus_that_are_not_there_end_it_in_one_line(photos: Path) -> None:
    done = counted(photos, "p", "--gpus", "0", "--out", "gpus")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--gpus needs CUDA devices" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(photos: Path, closed: str) -> None:
    quick = "--network tiny.toml --format json --quiet"
    command = f"{sys.executable} -m gigacount count p/a.png --out closed --overwrite {quick} {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=photos, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert (photos / "closed" / "a.png.gigacount" / "count.json").exists()


def test_names_that_are_no_utf8_count_like_others(photos: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (photos / odd).mkdir(exist_ok=True)
    shutil.copy(photos / "p" / "a.png", photos / odd / f"{odd}.png")
    command = [sys.executable, "-m", "gigacount", "count", odd, "--out", f"{odd}-out", "--network", "tiny.toml"]
    done = subprocess.run(command, cwd=photos, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rb"caf\xe9/caf\xe9\.png\t\d+\.\d\n", done.stdout)
    assert "caf\\xe9" in (photos / f"{odd}-out" / "summary.csv").read_text()


@pytest.mark.parametrize(("kilobytes", "what"), [(300_000, "p"), (300_000, "p/a.png")])
def test_too_little_memory_is_said_in_a_line(photos: Path, kilobytes: int, what: str) -> None:
    command = f"ulimit -v {kilobytes}; {sys.executable} -m gigacount count {what} --out small --network tiny.toml -q"
    done = subprocess.run(["bash", "-c", command], cwd=photos, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "memory" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
