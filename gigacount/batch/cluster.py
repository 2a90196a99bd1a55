"""Workers as actors of a Ray cluster: one for each GPU, or for each `--cores` CPU cores.

Paths go in and rows come out; images and densities never leave the node. All nodes must see the images and the
output folder under the same paths. Optional: `pip install gigacount[ray]`.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gigacount.batch.work import (
    Broken,
    CountWork,
    Finished,
    Ready,
    Row,
    Said,
    Started,
    Task,
    Worker,
    WorkerReport,
    attempt,
    failed_row,
)
from gigacount.errors import GigacountError, NoSpaceError, UsageError
from gigacount.options import BatchOptions

NODES_SECONDS = 5.0  # between looks at which nodes there are
ANSWER_SECONDS = 10.0  # for the cluster to take a connection


class RayEngine:
    """Actors on the cluster at `ray_address`, or on one made of this machine.

    Raises UsageError where Ray is not installed or the cluster cannot be reached.
    """

    retry_elsewhere = True

    def __init__(self, work: CountWork, options: BatchOptions) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError("--engine ray needs Ray; install it: pip install 'gigacount[ray]'") from error
        self.ray: Any = ray
        self.work, self.options, self.capacity = work, options, options.workers
        self._counted, self._most = 0.0, 0
        address = options.ray_address or "local"
        try:
            require_answer(address, os.environ)
            self.ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"--engine ray: no cluster at {address}: {first_line(error)}; see `ray status`") from error
        if self._actors() == 0:
            most = max((int(node.get("CPU", 0)) for node in self._nodes()), default=0)
            self.close()
            raise UsageError(
                f"--engine ray: no node of the cluster has {options.cores} CPU cores, the largest has {most}; "
                f"use --cores {max(most, 1)}"
            )

    def most(self) -> int:
        """The actors that fit on the nodes of this moment."""
        if time.monotonic() - self._counted > NODES_SECONDS or self._counted == 0.0:
            self._counted = time.monotonic()
            self._most = max(1, self._actors())  # nodes may come back
        return self._most

    def _nodes(self) -> list[dict[str, float]]:
        """The resources of each node."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _actors(self) -> int:
        nodes = self._nodes()
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        return gpus or sum(int(node.get("CPU", 0)) // self.options.cores for node in nodes)

    def start_worker(self) -> Worker:
        on_gpu = any(node.get("GPU") for node in self._nodes())
        needs = {"num_gpus": 1} if on_gpu else {"num_cpus": self.options.cores}
        actor = self.ray.remote(Actor).options(
            # One thread more than images, to answer while all of them are under way.
            max_concurrency=self.capacity + 1,
            scheduling_strategy="SPREAD",
            **needs,
        )
        return RayWorker(self.ray, actor.remote(self.work, str(Path.cwd())))

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        pending = [reference for worker in workers if isinstance(worker, RayWorker) for reference in worker.pending]
        if pending:
            self.ray.wait(pending, timeout=seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        self.ray.shutdown()


def require_answer(address: str, environment: Mapping[str, str]) -> None:
    """Raise OSError if nothing listens at the address of a cluster: Ray would wait for minutes and ignore Ctrl-C."""
    if address == "auto":
        noted = Path(environment.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
        address = environment.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.exists() else "")
    if match := re.fullmatch(r"\[?([^/\[\]]+)\]?:(\d+)", address):
        socket.create_connection((match[1], int(match[2])), timeout=ANSWER_SECONDS).close()


class Actor:
    """A worker on some node of the cluster."""

    def __init__(self, work: CountWork, folder: str) -> None:
        self.work, self.folder = work, folder

    def prepare(self) -> tuple[str, list[WorkerReport]]:
        """Load the networks. The node this runs on, and what to report."""
        import ray

        reports: list[WorkerReport] = []
        try:
            enter(self.folder)
            self.work.prepare(lambda message: reports.append(Said(message)))
            reports.append(Ready())
        except GigacountError as error:
            reports.append(Broken.by(error))
        return ray.get_runtime_context().get_node_id(), reports

    def process(self, task: Task) -> Row:
        return attempt(self.work, task, None)


def enter(folder: str) -> None:
    """Make relative paths mean the same as where the batch was started."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"{folder}: a node of the cluster has no such folder; all nodes must share it") from error


class RayWorker:
    """One actor, from the batch's side."""

    node = ""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray, self.actor = ray, actor
        self.pending: dict[Any, Task | None] = {actor.prepare.remote(): None}
        self._reports: list[WorkerReport] = []
        self._lost: str | None = None

    def give(self, task: Task) -> None:
        self.pending[self.actor.process.remote(task)] = task
        self._reports.append(Started(task.item.key))

    def reports(self) -> list[WorkerReport]:
        done, _ = (
            self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0) if self.pending else ([], [])
        )
        for reference in done:
            self._hear(self.pending.pop(reference), reference)
        said, self._reports = self._reports, []
        return said

    def lost(self) -> str | None:
        return self._lost

    def ask_to_stop(self) -> None:
        """Actors are not asked: what they write is whole or not there, and `kill` is what follows."""

    def kill(self) -> None:
        self.ray.kill(self.actor)

    def _hear(self, task: Task | None, reference: Any) -> None:
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:  # an unforeseen error of the work
            if isinstance(error.cause, NoSpaceError):
                self._reports.append(Broken.by(error.cause))
            else:
                self._fail(task, first_line(error.cause))
        except self.ray.exceptions.RayError as error:
            self._lost = f"the actor is gone: {first_line(error)}"
        else:
            if task is None:
                self.node, prepared = answer
                self._reports += prepared
            else:
                self._reports.append(Finished(task.item.key, answer))

    def _fail(self, task: Task | None, message: str) -> None:
        message = f"unexpected {message}; please report this"
        if task is None:
            self._reports.append(Broken(message, GigacountError))
        else:
            row = failed_row(task.item, f"{task.item.path}: {message}")
            self._reports.append(Finished(task.item.key, row))


def first_line(error: BaseException) -> str:
    """An error of Ray, which may be pages long, in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
