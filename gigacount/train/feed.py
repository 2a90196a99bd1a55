"""Batches in order, made by threads ahead of the network."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

AHEAD = 3  # batches made, beside one a worker, while the network works on the present one
MOST = 8  # workers for a GPU, if not told otherwise

Batch = TypeVar("Batch")


def ahead(make: Callable[[int], Batch], steps: Iterable[int], workers: int) -> Generator[Batch, None, None]:
    """`make(step)` for each of `steps`, in their order however many workers there are; an error there is raised here.

    Threads, not processes: they share the decoded pictures, and decoding and resampling leave Python's lock alone.
    Each of several takes one core: PyTorch would have each of them ask for all.
    """
    remaining = iter(steps)
    pool = ThreadPoolExecutor(workers, "crops", (lambda: torch.set_num_threads(1)) if workers > 1 else None)
    try:
        waiting: deque[Future[Batch]] = deque(pool.submit(make, step) for step in islice(remaining, workers + AHEAD))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(make, step) for step in islice(remaining, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers(device: torch.device) -> int:
    """One beside a CPU that has its hands full; for a GPU one for each core, up to eight."""
    return 1 if device.type == "cpu" else min(os.cpu_count() or 1, MOST)
