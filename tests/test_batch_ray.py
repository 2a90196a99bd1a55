"""A batch on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batch_fakes import FakeWork
from batch_tools import FAKE, leftovers, pictures, run, summary

from gigacount.batch.cluster import require_answer
from gigacount.batch.runner import make_engine
from gigacount.errors import UsageError
from gigacount.options import BatchOptions

RAY = Path(sys.executable).with_name("ray")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
    "PYTHONPATH": str(FAKE.parent),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "8",
}

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


class Node:
    """A node started by `ray start --block`, in a session of its own."""

    def __init__(self, folder: str, *arguments: str) -> None:
        command = [str(RAY), "start", "--block", "--num-cpus=2", "--disable-usage-stats", *arguments]
        environment = ENVIRONMENT | {"RAY_TMPDIR": folder}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def descendants(self) -> list[int]:
        """The processes of this node: Ray's own, and the workers below them."""
        parents = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue  # ended meanwhile
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def kill(self) -> None:
        for pid in self.descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture
def cluster() -> Iterator[tuple[str, Node]]:
    """The address of a cluster of two nodes, and the second of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder = tempfile.mkdtemp(prefix="r")  # not pytest's: the names of sockets must be short
    head = Node(folder, "--head", f"--port={address.split(':')[1]}", "--include-dashboard=false")
    second = None
    try:
        wait_until(lambda: alive(address) >= 1)
        second = Node(folder, f"--address={address}")
        wait_until(lambda: alive(address) >= 2)
        yield address, second
    finally:
        for node in (second, head):
            if node is not None:
                node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def alive(address: str) -> int:
    """Nodes of the cluster; 0 while it does not answer."""
    code = f"import ray; ray.init('{address}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    try:
        require_answer(address, {})
        done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, "the cluster does not start"
        time.sleep(0.5)


def start(
    folder: Path, out: Path, address: str, environment: dict[str, str] | None = None, **settings: object
) -> subprocess.Popen[bytes]:
    settings = {"engine": "ray", "ray_address": address, "cores": 1, **settings}
    with (out.parent / "stderr").open("wb") as stderr:
        command = [sys.executable, str(FAKE), str(folder), str(out), json.dumps(settings)]
        environment = ENVIRONMENT | (environment or {})
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_nodes_give_the_summary_of_one_machine_also_when_a_worker_and_a_node_die(
    tmp_path: Path, cluster: tuple[str, Node]
) -> None:
    address, second = cluster
    words = {3: "bad", 7: "crash", 11: "odd"}
    folder = pictures(tmp_path / "in", {f"{n % 2}/{n:02}.jpg": words.get(n, "x" * n) for n in range(24)})
    run(folder, out=tmp_path / "local")
    whole = [{**row, "message": ""} for row in summary(tmp_path / "local")]

    assert start(folder, tmp_path / "calm", address).wait() == 1
    assert [{**row, "message": ""} for row in summary(tmp_path / "calm")] == whole
    by_name = {Path(row["path"]).name: row for row in summary(tmp_path / "calm")}
    assert "a damaged picture" in by_name["03.jpg"]["message"]
    assert "two workers died while they counted it" in by_name["07.jpg"]["message"]
    assert "LookupError: nobody foresaw this" in by_name["11.jpg"]["message"]

    trace = tmp_path / "trace"
    process = start(folder, tmp_path / "out", address, seconds=0.3, trace=str(trace))
    wait_until(lambda: busy(trace, second))
    second.kill()
    assert process.wait() == 1
    assert [{**row, "message": ""} for row in summary(tmp_path / "out")] == whole
    assert leftovers(tmp_path / "out") == []


def busy(trace: Path, node: Node) -> bool:
    """Whether a worker of the node has written into the trace that it works on a picture."""
    pids = {int(line.split()[0]) for line in trace.read_text().splitlines()} if trace.exists() else set()
    return bool(pids & set(node.descendants()))


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hanging_actor_is_ended_by_the_time_limit(tmp_path: Path, cluster: tuple[str, Node]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"\xff\xd8\xff hang")
    process = start(tmp_path / "in", tmp_path / "out", cluster[0], time_limit=1.0)
    assert process.wait() == 1
    assert "time limit of 1 seconds" in summary(tmp_path / "out")[0]["message"]


def test_without_ray_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"gigacount\[ray\]"):
        make_engine(FakeWork(), BatchOptions(engine="ray"))


@needs_ray
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine"})
    process = start(folder, tmp_path / "out", address, {"RAY_TMPDIR": str(tmp_path)})
    assert process.wait(60) == 1
    assert f"UsageError: --engine ray: no cluster at {address}" in (tmp_path / "stderr").read_text()
