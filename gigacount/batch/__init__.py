"""Many pictures: work list -> claim -> process -> record -> summary.

pictures    which files are pictures
worklist    arguments become items, each with a result folder of its own
work        what is done with one picture: `CountWork`
runner      `run_batch`
ledger      what is remembered between runs and shared between processes, made of
claims        who works on what
records       what became of each picture, and the summary of all
scheduler   which worker has which picture, time limits, dead workers
workers     what batch and workers say to each other
processes   workers on this machine
cluster     workers on a Ray cluster
progress    how far the batch is, and who is told
"""

from __future__ import annotations

from gigacount.batch.progress import Observer, Tally
from gigacount.batch.records import Row
from gigacount.batch.runner import run_batch
from gigacount.batch.work import CountWork, Progress, Task, Work
from gigacount.batch.worklist import Item, is_one_picture, share, slurm_shard, work_list

__all__ = [
    "CountWork",
    "Item",
    "Observer",
    "Progress",
    "Row",
    "Tally",
    "Task",
    "Work",
    "is_one_picture",
    "run_batch",
    "share",
    "slurm_shard",
    "work_list",
]
