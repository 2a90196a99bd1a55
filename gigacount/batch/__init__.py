"""Many images: work list -> claim -> process -> record -> summary.

worklist    which files are images; arguments become items, each with a result folder of its own
work        what is done with one image: `CountWork`; what batch and workers say to each other
runner      `run_batch`
ledger      what is remembered between runs and shared between processes: records and the summary
claims        who works on what
scheduler   which worker has which image, time limits, dead workers
processes   workers on this machine
cluster     workers on a Ray cluster
observers   how far the batch is, and who is told
"""

from __future__ import annotations

from gigacount.batch.observers import Observer, Tally
from gigacount.batch.runner import run_batch
from gigacount.batch.work import CountWork, Progress, Row, Task
from gigacount.batch.worklist import Item, is_one_image, share, work_list

__all__ = [
    "CountWork",
    "Item",
    "Observer",
    "Progress",
    "Row",
    "Tally",
    "Task",
    "is_one_image",
    "run_batch",
    "share",
    "work_list",
]
