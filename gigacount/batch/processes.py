"""Workers as processes of this machine: one, or one for each GPU.

Pictures are worked on in processes of their own, so that a decoder that crashes, hangs or eats all memory ends a
process and not the batch. Inside each, a few threads have one picture each: while the network looks at one, the
others read.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from gigacount.batch.records import failed_row
from gigacount.batch.seats import Broken, Finished, Looked, Ready, Report, Said, Seat, Started
from gigacount.batch.work import Task, Work, attempt
from gigacount.errors import GigacountError, UsageError
from gigacount.memory import keep_freed_memory
from gigacount.options import BatchOptions

LOOKED_SECONDS = 0.2  # between two reports on one picture's progress
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
VISIBLE = "CUDA_VISIBLE_DEVICES"


class LocalEngine:
    """Processes of this machine. Raises UsageError for a GPU that CUDA_VISIBLE_DEVICES hides."""

    retry_elsewhere = False

    def __init__(self, work: Work, options: BatchOptions) -> None:
        self.work, self.capacity = work, options.workers
        self._environments = gpu_environments(options.gpus, os.environ) or [{}]
        self._seats: list[ProcessSeat] = []

    def most(self) -> int:
        return len(self._environments)

    def open_seat(self) -> Seat:
        self._seats = [seat for seat in self._seats if seat.process.is_alive()]
        taken = [seat.environment for seat in self._seats]
        free = next(environment for environment in self._environments if environment not in taken)
        self._seats.append(ProcessSeat(self.work, self.capacity, free))
        return self._seats[-1]

    def wait(self, seats: Sequence[Seat], seconds: float) -> None:
        awaited = [end for seat in self._seats if seat in seats for end in (seat.pipe, seat.process.sentinel)]
        if awaited:
            wait(awaited, seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Nothing is held besides the seats."""


class ProcessSeat:
    """One worker process, from the batch's side."""

    node = ""

    def __init__(self, work: Work, threads: int, environment: Mapping[str, str]) -> None:
        self.environment = environment
        # Spawned, not forked: CUDA and libvips do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, child_end = context.Pipe()
        self.process = context.Process(target=serve, args=(child_end, work, threads, environment), daemon=True)
        with signals_blocked():
            self.process.start()
        child_end.close()

    def give(self, task: Task) -> None:
        with suppress(OSError):
            self.pipe.send(task)

    def reports(self) -> list[Report]:
        said: list[Report] = []
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
        self.process.join()
        self.pipe.close()


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes started in here never see Ctrl-C, which a terminal sends to all: the batch tells them when to stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def gpu_environments(gpus: Sequence[int], environment: Mapping[str, str]) -> list[dict[str, str]]:
    """For each GPU the environment of a process that sees no other one; numbers count among those visible here."""
    if VISIBLE not in environment:
        return [{VISIBLE: str(gpu)} for gpu in gpus]
    visible = [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    for gpu in gpus:
        if gpu >= len(visible):
            raise UsageError(f"--gpus: there is no GPU {gpu}; {VISIBLE} shows {len(visible)}, counted from 0")
    return [{VISIBLE: visible[gpu]} for gpu in gpus]


class Voice:
    """The worker's end of the pipe, shared by its threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self.stopped = threading.Event()

    def send(self, report: Report) -> None:
        with self._lock, suppress(BrokenPipeError):  # a batch that is gone hears nothing
            self._pipe.send(report)

    def say(self, message: str) -> None:
        self.send(Said(message))


class Windows:
    """The progress of one picture; where the batch wants to stop, it ends the work."""

    def __init__(self, voice: Voice, key: str) -> None:
        self._voice, self._key, self._told = voice, key, 0.0

    def __call__(self, done: int, planned: int) -> None:
        if self._voice.stopped.is_set():
            raise KeyboardInterrupt
        if time.monotonic() - self._told > LOOKED_SECONDS:
            self._told = time.monotonic()
            self._voice.send(Looked(self._key, done, planned))


def serve(pipe: Connection, work: Work, threads: int, environment: Mapping[str, str]) -> None:
    """The life of a worker process: prepare, take tasks, end when told to or when the batch is gone."""
    os.environ.update(environment)
    keep_freed_memory()
    voice = Voice(pipe)
    with ThreadPoolExecutor(threads, "picture") as pool:
        error = pool.submit(work.prepare, voice.say).exception()
        if error is not None:
            voice.send(broken(error))
            return
        voice.send(Ready())
        while (task := next_task(pipe)) is not None:
            future = pool.submit(work_on, work, task, voice)
            future.add_done_callback(lambda future, task=task: explain(future, task, voice))  # type: ignore[misc]
        voice.stopped.set()


def broken(error: BaseException) -> Broken:
    if isinstance(error, GigacountError):
        return Broken(str(error), error.exit_code)
    return Broken(unforeseen(error), GigacountError.exit_code)


def next_task(pipe: Connection) -> Task | None:
    try:
        task: Task | None = pipe.recv()
    except (EOFError, OSError):
        os._exit(1)  # the batch was killed: nobody waits for what the threads are doing
    return task


def work_on(work: Work, task: Task, voice: Voice) -> None:
    voice.send(Started(task.item.key))
    row = attempt(work, task, Windows(voice, task.item.key))
    voice.send(Finished(task.item.key, row))


def explain(future: Future[None], task: Task, voice: Voice) -> None:
    """An error that nobody foresaw fails its picture, not the batch; its place in the code goes into the message."""
    error = future.exception()
    if error is not None and not isinstance(error, KeyboardInterrupt):
        voice.send(Finished(task.item.key, failed_row(task.item, f"{task.item.path}: {unforeseen(error)}")))


def unforeseen(error: BaseException) -> str:
    places = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else ""
    return f"unexpected {type(error).__name__}: {error}{place}; please report this"
