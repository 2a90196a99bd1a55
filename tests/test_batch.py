"""The batch as a whole, with work that needs no pixels: resume, failures, dead and hanging workers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from batch_fakes import FakeWork
from batch_tools import leftovers, pictures, run, summary

from gigacount.batch import run_batch, work_list
from gigacount.batch.processes import gpu_environments
from gigacount.errors import GigacountError, OutputError, UsageError
from gigacount.options import BatchOptions


def test_a_folder_gets_a_result_a_picture_and_a_summary(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "one", "b/a.jpg": "four", "b/a.png": "7"})
    tally, told = run(folder)
    assert (tally.done, tally.reused, tally.failed, tally.exit_code) == (3, 0, 0, 0)
    assert summary(tmp_path / "out") == [
        {"path": str(folder / name), "count": count, "low": None, "high": None, "points": None, "width": 3, "height": 2}
        | {"status": "done", "message": ""}
        for name, count in (("a.jpg", 4.0), ("b/a.jpg", 5.0), ("b/a.png", 2.0))
    ]
    totals = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (totals["done"], totals["failed"], totals["count"]) == (3, 0, 11.0)
    assert all((tmp_path / "out" / f"{name}.gigacount" / "count.json").exists() for name in told.rows)
    assert leftovers(tmp_path / "out") == []
    assert [event for event, _ in told.events if event in ("began", "ended")] == ["began", "ended"]
    assert sorted(name for event, name in told.events if event == "started") == ["a.jpg", "b/a.jpg", "b/a.png"]


def test_a_second_run_works_on_nothing_and_a_changed_picture_is_made_anew(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "one", "b.jpg": "two", "c.jpg": "bad"})
    first, _ = run(folder)
    before = summary(tmp_path / "out")
    trace = tmp_path / "trace"
    again, told = run(folder, FakeWork(trace=trace))
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert (again.reused, again.done, again.failed) == (2, 0, 1)
    assert [line.split()[1] for line in trace.read_text().splitlines()] == ["c.jpg"], "failed pictures get another try"
    assert summary(tmp_path / "out") == before
    pictures(folder, {"a.jpg": "longer", "c.jpg": "mended"})
    third, told = run(folder)
    assert (third.done, third.reused, third.exit_code) == (2, 1, 0)
    assert told.rows["b.jpg"][1] is True
    assert leftovers(tmp_path / "out") == []


def test_other_options_than_those_of_the_results_are_named_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "one", "b.jpg": "two"})
    run(folder)
    before = summary(tmp_path / "out")
    with pytest.raises(OutputError, match=r"a\.jpg\.gigacount: of recipe plain, not other"):
        run(folder, FakeWork(recipe="other"))
    assert summary(tmp_path / "out") == before
    assert run(folder, FakeWork(recipe="other"), overwrite=True)[0].done == 2


@pytest.mark.parametrize("out", ["in", "out"])
def test_pictures_and_results_that_are_copied_together_are_counted_anew(tmp_path: Path, out: str) -> None:
    """As by `cp -r`: other places and times of change. Neither a failure nor a loss in the summary."""
    folder = pictures(tmp_path / "here" / "in", {"a.jpg": "one", "b.jpg": "two"})
    at = None if out == "in" else tmp_path / "here" / "out"
    run(folder, out=at)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for path in (tmp_path / "there").rglob("*.jpg"):
        os.utime(path, (1, 1))
    tally, _ = run(tmp_path / "there" / "in", out=at and tmp_path / "there" / "out")
    assert tally.failed == 0
    if at:
        rows = summary(tmp_path / "there" / "out")
        assert [(row["status"], row["count"]) for row in rows] == [("done", 4.0), ("done", 4.0)]


def test_a_finished_batch_needs_no_worker(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "one"})
    run(folder)
    tally, _ = run(folder, FakeWork(broken="usage"))
    assert tally.reused == 1


def test_bad_pictures_stop_nothing_and_their_reasons_are_in_the_summary(tmp_path: Path) -> None:
    contents = {"a.jpg": "bad", "b.jpg": "fine", "c.jpg": "odd", "d.jpg": "fine"}
    folder = pictures(tmp_path / "in", contents)
    tally, _ = run(folder)
    rows = {Path(row["path"]).name: row for row in summary(tmp_path / "out")}
    assert (tally.done, tally.failed, tally.exit_code) == (2, 2, 1)
    assert rows["a.jpg"]["status"] == "failed"
    assert rows["a.jpg"]["message"] == "a.jpg: a damaged picture"
    assert "LookupError: nobody foresaw this (batch_fakes.py, line" in rows["c.jpg"]["message"]
    assert not (tmp_path / "out" / "a.jpg.gigacount").exists()


def test_missing_pictures_of_a_list_fail_without_a_worker(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("none.jpg\n")
    options = BatchOptions(out=tmp_path / "out")
    items = work_list([tmp_path / "list.txt"], options.out)
    tally = run_batch(items, FakeWork(broken="usage"), options)
    assert tally.failed == 1
    assert "no such file" in summary(tmp_path / "out")[0]["message"]


@pytest.mark.parametrize("most", [1, 2])
def test_max_failures_stops_early_and_what_is_done_stays(tmp_path: Path, most: int) -> None:
    contents = {"a.jpg": "fine"} | {f"b{n}.jpg": "bad" for n in range(6)}
    tally, _ = run(pictures(tmp_path / "in", contents), max_failures=most, workers=1)
    assert tally.gave_up
    assert (tally.failed, tally.done, tally.exit_code) == (most, 1, 1)
    assert len(summary(tmp_path / "out")) == most + 1
    assert leftovers(tmp_path / "out") == []


def test_a_crashing_worker_costs_its_picture_and_not_its_neighbours(tmp_path: Path) -> None:
    contents = {f"{n}.jpg": "slow" for n in range(3)} | {"1c.jpg": "crash"}
    tally, told = run(pictures(tmp_path / "in", contents), workers=2)
    assert (tally.done, tally.failed) == (3, 1)
    assert "SIGKILL" in told.rows["1c.jpg"][0].message
    assert leftovers(tmp_path / "out") == []


def test_a_worker_that_dies_once_is_forgiven(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    tally, _ = run(pictures(tmp_path / "in", {"a.jpg": "crash"}), FakeWork(once=tmp_path / "once"))
    assert (tally.done, tally.exit_code) == (1, 0)


def test_a_hanging_picture_is_ended_by_the_time_limit(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "hang", "b.jpg": "fine", "c.jpg": "fine"})
    tally, told = run(folder, time_limit=0.5)
    assert (tally.done, tally.failed) == (2, 1)
    assert "time limit of 0.5 seconds" in told.rows["a.jpg"][0].message


def test_what_holds_for_all_pictures_ends_the_batch_at_once(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n}.jpg": "fine" for n in range(5)})
    with pytest.raises(UsageError, match="no such network"):
        run(folder, FakeWork(broken="usage"))
    with pytest.raises(GigacountError, match="unexpected LookupError: nobody foresaw this"):
        run(folder, FakeWork(broken="odd"))
    with pytest.raises(GigacountError, match="every worker dies"):
        run(folder, FakeWork(broken="crash"))
    assert leftovers(tmp_path / "out") == []


def test_results_that_the_batch_did_not_make_are_not_replaced(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine", "b.jpg": "fine"})
    foreign = tmp_path / "out" / "a.jpg.gigacount" / "mine.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("precious")
    for _ in range(2):  # nor by a second run, which finds a record of the first
        tally, told = run(folder)
        assert (tally.failed, foreign.read_text()) == (1, "precious")
        assert "--overwrite" in told.rows["a.jpg"][0].message
    tally, _ = run(folder, overwrite=True)
    assert (tally.failed, tally.done, foreign.exists()) == (0, 2, False)


def test_another_folders_picture_of_the_same_name_does_not_replace_a_result(tmp_path: Path) -> None:
    run(pictures(tmp_path / "in", {"a.jpg": "fine"}))
    tally, told = run(pictures(tmp_path / "other", {"a.jpg": "another"}))
    assert tally.failed == 1
    assert "exists already" in told.rows["a.jpg"][0].message
    assert run(tmp_path / "in")[0].reused == 1


def test_without_out_results_go_beside_and_nothing_is_replaced(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine"})
    assert run(folder, out=None)[0].done == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "a.jpg.gigacount"]
    assert run(folder, out=None)[0].reused == 1
    with pytest.raises(OutputError, match="--overwrite"):
        run(folder, FakeWork(recipe="other"), out=None)


def test_no_result_leaves_out_through_a_link(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"b/a.jpg": "fine", "a.jpg": "fine"})
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "b").symlink_to(tmp_path / "elsewhere")
    tally, told = run(folder)
    assert (tally.done, tally.failed) == (1, 1)
    assert "symbolic link leads out of" in told.rows["b/a.jpg"][0].message
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_out_that_is_no_folder_is_said(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine"})
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        run(folder)


def test_damaged_records_and_results_are_made_anew(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine", "b.jpg": "fine"})
    run(folder)
    before = summary(tmp_path / "out")
    for number, record in enumerate(sorted((tmp_path / "out" / ".gigacount" / "records").iterdir())):
        record.write_text(["{", '{"name": 3, "source": [], "ours": 1, "row": {"path": 5}}'][number])
    (tmp_path / "out" / "a.jpg.gigacount" / "count.json").write_text("{")
    tally, told = run(folder)
    assert told.rows["b.jpg"][1] is True
    assert (tally.reused, tally.failed) == (1, 1), "without a record nobody knows whose a damaged result is"
    assert run(folder, overwrite=True)[0].done == 2
    assert summary(tmp_path / "out") == before


def test_the_log_has_a_json_object_a_line(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine", "b.jpg": "bad"})
    run(folder, log=tmp_path / "logs" / "log.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "logs" / "log.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in entries if entry["event"] != "start"] == ["begin", "image", "image", "end"]
    done = {Path(entry["path"]).name: entry for entry in entries if entry["event"] == "image"}
    assert (done["a.jpg"]["status"], done["b.jpg"]["status"]) == ("done", "failed")
    assert (entries[-1]["done"], entries[-1]["failed"], entries[-1]["exit_code"]) == (1, 1, 1)


def test_finished_pictures_start_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ten thousand of them take seconds: `make bench` has the figure."""
    folder = pictures(tmp_path / "in", {f"{n:03}.jpg": "fine" for n in range(100)})
    run(folder, workers=8)
    monkeypatch.setattr("gigacount.batch.processes.ProcessWorker", None)
    assert run(folder)[0].reused == 100


def test_each_gpu_gets_a_process_that_sees_no_other_one() -> None:
    assert gpu_environments((0, 2), {}) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "2"}]
    assert gpu_environments((1,), {"CUDA_VISIBLE_DEVICES": "4, GPU-7"}) == [{"CUDA_VISIBLE_DEVICES": "GPU-7"}]
    with pytest.raises(UsageError, match="no GPU 2"):
        gpu_environments((0, 2), {"CUDA_VISIBLE_DEVICES": "4,5"})


def test_gpus_share_one_queue(tmp_path: Path) -> None:
    """The processes are the same without the devices: two of them, and the one with the slow picture does less."""
    folder = pictures(tmp_path / "in", {"0.jpg": "slow"} | {f"{n}.jpg": "fine" for n in range(1, 9)})
    trace = tmp_path / "trace"
    tally, _ = run(folder, FakeWork(trace=trace, seconds=0.05), gpus=(0, 1), workers=1)
    assert tally.done == 9
    lines = [line.split() for line in trace.read_text().splitlines()]
    slow = next(process for process, name in lines if name == "0.jpg")
    shares: Sequence[int] = [sum(process == slow for process, _ in lines), sum(process != slow for process, _ in lines)]
    assert shares[0] < shares[1]
