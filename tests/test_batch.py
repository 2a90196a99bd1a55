"""The batch as a whole, with work that needs no pixels: resume, failures, dead and hanging workers, sharing."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_fakes import FakeWork

from gigacount.batch import Item, Row, Tally, run_batch, work_list
from gigacount.batch.claims import Claims
from gigacount.batch.processes import gpu_environments
from gigacount.errors import GigacountError, OutputError, UsageError
from gigacount.options import BatchOptions

JPEG = b"\xff\xd8\xff"
FAKE = Path(__file__).parent / "batch_fakes.py"


def pictures(folder: Path, contents: dict[str, str]) -> Path:
    for name, words in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + b" " + words.encode())
    return folder


class Told:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.rows: dict[str, tuple[Row, bool]] = {}

    def began(self, tally: Tally) -> None:
        self.events.append(("began", tally.total))

    def started(self, item: Item) -> None:
        self.events.append(("started", item.name))

    def looked(self, item: Item, done: int, planned: int) -> None:
        self.events.append(("looked", (done, planned)))

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        self.rows[item.name] = row, reused

    def said(self, message: str) -> None:
        self.events.append(("said", message))

    def ended(self, tally: Tally) -> None:
        self.events.append(("ended", tally.settled))


def run(folder: Path, work: FakeWork | None = None, **settings: Any) -> tuple[Tally, Told]:
    options = BatchOptions(**{"out": folder.parent / "out", **settings})
    told = Told()
    items = work_list([folder], options.out, recursive=True)
    return run_batch(items, work or FakeWork(), options, [told]), told


def summary(out: Path) -> list[dict[str, Any]]:
    """The summary without timing; CSV and JSON must agree."""
    rows: list[dict[str, Any]] = json.loads((out / "summary.json").read_text())["images"]
    with (out / "summary.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows] == texts
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def leftovers(out: Path) -> list[str]:
    """Files that only a killed or running process should have: claims, and what is half written."""
    found = [str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith(".")]
    found += [path.name for path in (out / ".gigacount" / "claims").iterdir()]
    return sorted(name for name in found if name != ".gigacount")


def test_a_folder_gets_a_result_a_picture_and_a_summary(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "one", "b/a.jpg": "four", "b/a.png": "7"})
    tally, told = run(folder)
    assert (tally.done, tally.reused, tally.failed, tally.exit_code) == (3, 0, 0, 0)
    assert summary(tmp_path / "out") == [
        {"path": str(folder / name), "count": count, "points": None, "width": 3, "height": 2}
        | {"status": "done", "message": ""}
        for name, count in (("a.jpg", 4.0), ("b/a.jpg", 5.0), ("b/a.png", 2.0))
    ]
    totals = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (totals["done"], totals["failed"], totals["count"]) == (3, 0, 11.0)
    assert all((tmp_path / "out" / f"{name}.gigacount" / "count.json").exists() for name in told.rows)
    assert leftovers(tmp_path / "out") == []
    assert [event for event, _ in told.events if event in ("began", "ended")] == ["began", "ended"]
    assert sorted(name for event, name in told.events if event == "started") == ["a.jpg", "b/a.jpg", "b/a.png"]


def test_a_second_run_works_on_nothing_and_a_changed_picture_or_recipe_is_made_anew(tmp_path: Path) -> None:
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
    fourth, _ = run(folder, FakeWork(recipe="other"))
    assert (fourth.done, fourth.reused) == (3, 0)
    assert leftovers(tmp_path / "out") == []


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
    with pytest.raises(GigacountError, match="no worker survives"):
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
    tally, told = run(folder, FakeWork(recipe="other"), out=None)
    assert tally.failed == 1
    assert "--overwrite" in told.rows["a.jpg"][0].message


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
    assert [entry["event"] for entry in entries if entry["event"] != "start"] == ["begin", "picture", "picture", "end"]
    done = {Path(entry["path"]).name: entry for entry in entries if entry["event"] == "picture"}
    assert (done["a.jpg"]["status"], done["b.jpg"]["status"]) == ("done", "failed")
    assert (entries[-1]["done"], entries[-1]["failed"], entries[-1]["exit_code"]) == (1, 1, 1)


def test_ten_thousand_finished_pictures_take_seconds(tmp_path: Path) -> None:
    """A hundredth of them here, by the same measure: 3 ms each at most, on a busy machine."""
    folder = pictures(tmp_path / "in", {f"{n:03}.jpg": "fine" for n in range(100)})
    run(folder, workers=8)
    start = time.perf_counter()
    assert run(folder)[0].reused == 100
    assert time.perf_counter() - start < 1.0


def start(folder: Path, out: Path, **settings: Any) -> subprocess.Popen[bytes]:
    with (out.parent / "stderr").open("wb") as stderr:
        return subprocess.Popen([sys.executable, str(FAKE), str(folder), str(out), json.dumps(settings)], stderr=stderr)


def kill_at_random(tmp_path: Path, kills: int, count: int) -> None:
    """Kill a batch `kills` times, then let it end: the same summary as without, and each picture worked on at most
    once more than it was killed under way."""
    words = {0: "bad", 5: "odd"}
    folder = pictures(tmp_path / "in", {f"{n % 3}/{n:02}.jpg": words.get(n, "x" * n) for n in range(count)})
    assert start(folder, tmp_path / "whole").wait() == 1
    out, trace, chance = tmp_path / "out", tmp_path / "trace", random.Random(1)
    killed = 0
    for _ in range(kills):
        process = start(folder, out, seconds=0.02, trace=str(trace))
        wait_for(out / ".gigacount" / "claims")
        time.sleep(chance.uniform(0.0, 1.0))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if (out / "summary.json").exists():
            summary(out)
    assert killed > kills / 2, "the batch is too short to be killed"
    assert start(folder, out, trace=str(trace)).wait() == 1
    assert summary(out) == summary(tmp_path / "whole")
    assert leftovers(out) == []
    fine = [line.split()[1] for line in trace.read_text().splitlines() if Path(line).stem not in ("00", "05")]
    assert len(fine) <= len(set(fine)) + 2 * killed, "at most the two pictures under way are lost"


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def test_killed_at_random_moments_the_summary_is_the_same(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=3, count=30)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_twenty_times_the_summary_is_the_same(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=20, count=150)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_with_what_is_done_saved(tmp_path: Path, number: int, status: int) -> None:
    folder = pictures(tmp_path / "in", {"0.jpg": "fine"} | {f"{n}.jpg": "slow" for n in range(1, 9)})
    process = start(folder, tmp_path / "out")
    wait_for(tmp_path / "out" / "0.jpg.gigacount")
    process.send_signal(number)
    assert process.wait(20) == status
    assert (tmp_path / "stderr").read_text() == ""
    assert 1 <= len(summary(tmp_path / "out")) < 9
    assert leftovers(tmp_path / "out") == []


def test_several_processes_share_an_output_folder(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n:02}.jpg": "bad" if n == 3 else "fine" for n in range(12)})
    trace = tmp_path / "trace"
    processes = [start(folder, tmp_path / "out", seconds=0.3, trace=str(trace)) for _ in range(3)]
    assert [process.wait() for process in processes] == [1, 1, 1], "each of them knows of the bad picture"
    lines = [line.split() for line in trace.read_text().splitlines()]
    assert sorted(name for _, name in lines) == sorted(f"{n:02}.jpg" for n in range(12)), "each picture once"
    assert len({process for process, _ in lines}) > 1
    assert len(summary(tmp_path / "out")) == 12
    assert leftovers(tmp_path / "out") == []


def test_a_process_waits_for_the_pictures_of_others_and_takes_over_from_the_dead(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine", "b.jpg": "fine"})
    (item, _) = work_list([folder], tmp_path / "out")
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from gigacount.batch.claims import Claims\n"
            "Claims(Path(sys.argv[1])).take(sys.argv[2]); print('claimed', flush=True); time.sleep(60)",
            str(tmp_path / "out" / ".gigacount" / "claims"),
            item.key,
        ],
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    with other.stdout as line:
        line.readline()
    process = start(folder, tmp_path / "out")
    wait_for(tmp_path / "out" / "b.jpg.gigacount")
    time.sleep(0.3)
    assert process.poll() is None
    assert not item.folder.exists()
    other.kill()
    other.wait()
    assert process.wait(20) == 0
    assert item.folder.exists()
    assert leftovers(tmp_path / "out") == []


def test_shards_together_make_the_whole(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n}.jpg": "fine" for n in range(5)})
    for part in (1, 2, 3):
        assert start(folder, tmp_path / "out", shard=[part, 3]).wait() == 0
        assert len(summary(tmp_path / "out")) == [2, 4, 5][part - 1]


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


def test_claims_are_exclusive_and_given_back(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("k")
    assert not other.take("k")
    one.release("k")
    assert other.take("k")
    other.close()
    assert one.take("k")
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_without_heartbeat_is_taken_over_and_not_given_back_by_its_first_owner(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path, stale_seconds=100)
    one.take("k")
    assert not other.take("k")
    assert other.left(["k", "l"]) == []
    os.utime(tmp_path / "k.claim", (time.time() - 200,) * 2)
    assert other.left(["k", "l"]) == ["k"]
    assert other.take("k")
    one.release("k")
    assert not Claims(tmp_path).take("k")


def test_claims_work_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_claims_are_exclusive_and_given_back(tmp_path)
    test_a_claim_without_heartbeat_is_taken_over_and_not_given_back_by_its_first_owner(tmp_path)
