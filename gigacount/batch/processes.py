"""Workers as processes of this machine: one, or one for each GPU.

Images are worked on in processes of their own, so that a decoder that crashes, hangs or eats all memory ends a
process and not the batch. Inside each, a few threads have one image each: while the network looks at one, the
others read.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from gigacount import signals
from gigacount.batch.work import (
    Broken,
    CountWork,
    Finished,
    Ready,
    Said,
    Started,
    Task,
    WindowsDone,
    Worker,
    WorkerReport,
    attempt,
    failed_row,
)
from gigacount.errors import GigacountError, NoSpaceError, UsageError
from gigacount.memory import share_one_arena, shortage_or_unforeseen
from gigacount.options import BatchOptions

PROGRESS_SECONDS = 0.2  # between two reports on one image's progress
KILLED_SECONDS = 10.0  # for a process to be gone; one that waits for a disk may take for ever
VISIBLE = "CUDA_VISIBLE_DEVICES"


class LocalEngine:
    """Processes of this machine. Raises UsageError for a GPU that CUDA_VISIBLE_DEVICES hides."""

    retry_elsewhere = False

    def __init__(self, work: CountWork, options: BatchOptions) -> None:
        self.work, self.capacity = work, options.workers
        self._environments = gpu_environments(options.gpus, os.environ) or [{}]
        self._workers: list[ProcessWorker] = []

    def most(self) -> int:
        return len(self._environments)

    def start_worker(self) -> Worker:
        self._workers = [worker for worker in self._workers if worker.process.is_alive()]
        taken = [worker.environment for worker in self._workers]
        free = next(environment for environment in self._environments if environment not in taken)
        self._workers.append(ProcessWorker(self.work, self.capacity, free))
        return self._workers[-1]

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        ours = [worker for worker in self._workers if worker in workers]
        awaited = [end for worker in ours for end in (worker.pipe, worker.process.sentinel)]
        if awaited:
            wait(awaited, seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Nothing is held besides the workers."""


class ProcessWorker:
    """One worker process, from the batch's side."""

    node = ""

    def __init__(self, work: CountWork, threads: int, environment: Mapping[str, str]) -> None:
        self.environment = environment
        # Spawned, not forked: CUDA and libvips do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, child_end = context.Pipe()
        self.process = context.Process(
            target=serve, args=(os.getpid(), child_end, work, threads, environment), daemon=True
        )
        signals.start_deaf(self.process)
        child_end.close()

    def give(self, task: Task) -> None:
        with suppress(OSError):
            self.pipe.send(task)

    def reports(self) -> list[WorkerReport]:
        said: list[WorkerReport] = []
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                said.append(self.pipe.recv())
        return said

    def lost(self) -> str | None:
        code = self.process.exitcode
        if code is None:
            return None
        self.pipe.close()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def ask_to_stop(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(KILLED_SECONDS)
        self.pipe.close()


def gpu_environments(gpus: Sequence[int], environment: Mapping[str, str]) -> list[dict[str, str]]:
    """For each GPU the environment of a process that sees no other one; numbers count among those visible here."""
    if VISIBLE not in environment:
        return [{VISIBLE: str(gpu)} for gpu in gpus]
    visible = [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    for gpu in gpus:
        if gpu >= len(visible):
            raise UsageError(f"--gpus: there is no GPU {gpu}; {VISIBLE} shows {len(visible)}, counted from 0")
    return [{VISIBLE: visible[gpu]} for gpu in gpus]


class ReportPipe:
    """The worker's end of the pipe, shared by its threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self.stopped = threading.Event()

    def send(self, report: WorkerReport) -> None:
        with self._lock, suppress(OSError):  # the batch may have ended
            self._pipe.send(report)


def serve(parent: int, pipe: Connection, work: CountWork, threads: int, environment: Mapping[str, str]) -> None:
    """The worker process: prepare, take tasks, end when told to or when the batch has died.

    Ctrl-C in a terminal reaches it, too: it ignores that, and the batch tells it what to do.
    """
    signals.die_with_parent(parent)
    signals.ignore()
    os.environ.update(environment)
    share_one_arena()
    reports = ReportPipe(pipe)
    with ThreadPoolExecutor(threads, "image") as pool:
        error = pool.submit(work.prepare, lambda message: reports.send(Said(message))).exception()
        if error is not None:
            said = error if isinstance(error, GigacountError) else GigacountError(shortage_or_unforeseen(error))
            reports.send(Broken.by(said))
            return
        reports.send(Ready())
        while (task := next_task(pipe)) is not None:
            future = pool.submit(work_on, work, task, reports)
            future.add_done_callback(lambda future, task=task: explain(future, task, reports))  # type: ignore[misc]
        reports.stopped.set()


def next_task(pipe: Connection) -> Task | None:
    try:
        task: Task | None = pipe.recv()
    except (EOFError, OSError):
        os._exit(1)  # the batch was killed: nobody needs what the threads are doing
    return task


def work_on(work: CountWork, task: Task, reports: ReportPipe) -> None:
    """Work on an image and report; where the batch wants to stop, the next window ends the work."""
    key, told = task.item.key, 0.0

    def progress(done: int, planned: int) -> None:
        nonlocal told
        if reports.stopped.is_set():
            raise signals.Stopped(signal.SIGINT)
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            reports.send(WindowsDone(key, done, planned))

    reports.send(Started(key))
    reports.send(Finished(key, attempt(work, task, progress)))


def explain(future: Future[None], task: Task, reports: ReportPipe) -> None:
    """An unforeseen error fails its image, not the batch; the message says where in the code it was raised."""
    error = future.exception()
    if isinstance(error, NoSpaceError):
        reports.send(Broken.by(error))
    elif error is not None and not isinstance(error, signals.Stopped):
        reports.send(
            Finished(task.item.key, failed_row(task.item, f"{task.item.path}: {shortage_or_unforeseen(error)}"))
        )
