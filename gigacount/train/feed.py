"""Crops in order, cut by processes ahead of the network."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import suppress
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from gigacount import signals
from gigacount.errors import GigacountError
from gigacount.memory import share_one_arena, shortage_or_unforeseen
from gigacount.train.crops import CropMaker, Crops

MOST = 14  # processes for a GPU, if not told otherwise


def default_workers(device: torch.device) -> int:
    """None beside a CPU that has its hands full; for a GPU one for each core of its share, up to `MOST`."""
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes on this machine, as torchrun says
    return 0 if device.type == "cpu" else min((os.cpu_count() or 1) // sharing, MOST)


def ahead(maker: CropMaker, steps: range, rank: int, workers: int) -> Generator[Crops, None, None]:
    """The crops of `steps`, in their order however many workers there are; made in this process where there are none.

    Each worker makes those of every so many-th step, and waits with the next until the last are taken. Raises what a
    worker raises, where its crops are due, and GigacountError where one has been killed.
    """
    if workers == 0:
        yield from (maker.crops(step, rank) for step in steps)
        return
    context = get_context("spawn")  # CUDA and libvips do not survive a fork
    team, pipes = [], []
    try:
        for number in range(workers):
            pipe, theirs = context.Pipe(duplex=False)
            worker = context.Process(
                target=serve, args=(os.getpid(), theirs, maker, steps[number::workers], rank), daemon=True
            )
            team.append(worker)
            pipes.append(pipe)
            signals.start_deaf(worker)
            theirs.close()
        for _, number in zip(steps, cycle(range(workers)), strict=False):
            try:
                made = pipes[number].recv()
            except (EOFError, OSError):
                team[number].join()
                raise GigacountError(ended(team[number].exitcode)) from None
            if isinstance(made, GigacountError):
                raise made
            yield made
    finally:
        started = [worker for worker in team if worker.pid is not None]
        for worker in started:
            worker.kill()
        for worker in started:
            worker.join()
        for pipe in pipes:
            pipe.close()


def ended(code: int | None) -> str:
    how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"gone with exit status {code}"
    return (
        f"a process that cuts crops was {how}, perhaps for lack of memory; the last checkpoint is intact: go on with "
        "--resume, and fewer --workers"
    )


def serve(parent: int, pipe: Connection, maker: CropMaker, steps: range, rank: int) -> None:
    """The worker process: cut crops until all are cut or the one that trains has ended."""
    signals.die_with_parent(parent)
    signals.ignore()
    share_one_arena()
    torch.set_num_threads(1)
    with suppress(BrokenPipeError):
        try:
            for step in steps:
                pipe.send(maker.crops(step, rank))
        except GigacountError as error:
            pipe.send(GigacountError(str(error)))
        except Exception as error:
            pipe.send(GigacountError(shortage_or_unforeseen(error)))
