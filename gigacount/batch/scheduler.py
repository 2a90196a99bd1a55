"""Which worker has which image, how long already, and what happens when a worker dies."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gigacount.batch.work import Broken, Engine, Finished, Ready, Started, Task, Worker, WorkerReport, failed_row
from gigacount.batch.worklist import Item
from gigacount.errors import GigacountError

MAX_BAD_STARTS = 3
MAX_TRIES = 2
GRACE_SECONDS = 5.0  # for workers to drop their work at the next window


@dataclass
class Assignment:
    """A worker and its tasks by key, and since when each is worked on."""

    worker: Worker
    ready: bool = False
    alone: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)


class Scheduler:
    """Hands tasks to workers and collects reports. Every task that was given comes back as one Finished.

    An image whose worker died is tried once more, on a worker that has nothing else, so that its neighbours are not
    blamed for it; then it has failed. tidy: removes what a dead worker has left of an image.
    """

    def __init__(self, engine: Engine, tidy: Callable[[Item], None], time_limit: float | None = None) -> None:
        self.engine, self.tidy, self.time_limit = engine, tidy, time_limit
        self.assignments: list[Assignment] = []
        self._suspects: deque[tuple[Task, str]] = deque()  # to try again, and the node to avoid
        self._tries: Counter[str] = Counter()
        self._bad_starts = 0

    @property
    def active(self) -> list[Item]:
        """The items that are worked on, or will be again."""
        tasks = [task for assignment in self.assignments for task in assignment.tasks.values()]
        return [task.item for task in (*tasks, *(task for task, _ in self._suspects))]

    def has_room(self, waiting: int) -> bool:
        """Whether a task may be given now. Starts workers where `waiting` tasks need more of them."""
        wanted = min(self.engine.most(), waiting + len(self.active))
        while len(self.assignments) < wanted:
            self.assignments.append(Assignment(self.engine.start_worker()))
        return not self._suspects and any(map(self._is_free, self.assignments))

    def give(self, task: Task) -> None:
        """Hand a task to the least busy worker; only after `has_room`."""
        self._hand(min(filter(self._is_free, self.assignments), key=lambda assignment: len(assignment.tasks)), task)

    def wait(self, seconds: float) -> list[WorkerReport]:
        """What happens within `seconds`, or as soon as something does.

        Raises GigacountError where no worker can work.
        """
        self._retry_suspects()
        self.engine.wait([assignment.worker for assignment in self.assignments], seconds)
        reports: list[WorkerReport] = []
        for assignment in list(self.assignments):
            for report in assignment.worker.reports():
                reports += self._heard(assignment, report)
            if (reason := assignment.worker.lost()) is not None:
                reports += self._lost(assignment, reason)
            elif self.time_limit is not None:
                reports += self._end_overdue(assignment, self.time_limit)
        return reports

    def stop(self, at_once: Callable[[], bool]) -> list[Finished]:
        """End all workers: those with nothing to do now; the others get some seconds to drop their work cleanly, until
        `at_once` returns True.

        Returns what was finished in those seconds.
        """
        finished: list[Finished] = []
        busy = [assignment.worker for assignment in self.assignments if assignment.tasks]
        for worker in busy:
            worker.ask_to_stop()
        patience = time.monotonic() + GRACE_SECONDS
        while busy and time.monotonic() < patience and not at_once():
            self.engine.wait(busy, 0.1)
            finished += [report for worker in busy for report in worker.reports() if isinstance(report, Finished)]
            busy = [worker for worker in busy if worker.lost() is None]
        for assignment in self.assignments:
            assignment.worker.kill()
        self.assignments = []
        self.engine.close()
        return finished

    def _is_free(self, assignment: Assignment) -> bool:
        return assignment.ready and not assignment.alone and len(assignment.tasks) < self.engine.capacity

    def _hand(self, assignment: Assignment, task: Task, alone: bool = False) -> None:
        assignment.tasks[task.item.key], assignment.alone = task, alone
        assignment.worker.give(task)

    def _retry_suspects(self) -> None:
        if not self._suspects:
            return
        self.has_room(0)
        for _ in range(len(self._suspects)):
            task, node = self._suspects.popleft()
            ready = [assignment for assignment in self.assignments if assignment.ready]
            elsewhere = [assignment for assignment in ready if assignment.worker.node != node]
            idle = [assignment for assignment in elsewhere or ready if not assignment.tasks]
            if idle:
                self._hand(idle[0], task, alone=True)
            else:
                self._suspects.append((task, node))

    def _heard(self, assignment: Assignment, report: WorkerReport) -> list[WorkerReport]:
        match report:
            case Ready():
                assignment.ready, self._bad_starts = True, 0
                return []
            case Broken(message, kind):
                raise kind(message)
            case Started(key):
                assignment.since[key] = time.monotonic()
            case Finished(key, row):
                task = self._drop(assignment, key)
                if row.failed and self.engine.retry_elsewhere and self._tries[key] == 0:
                    self._try_again(task, assignment.worker.node)
                    return []
        return [report]

    def _drop(self, assignment: Assignment, key: str) -> Task:
        assignment.since.pop(key, None)
        assignment.alone = False
        return assignment.tasks.pop(key)

    def _try_again(self, task: Task, avoid: str = "") -> None:
        self._tries[task.item.key] += 1
        self._suspects.append((task, avoid))

    def _lost(self, assignment: Assignment, reason: str) -> list[WorkerReport]:
        """A worker has died: its images are tried once more, or have failed."""
        self.assignments.remove(assignment)
        if not assignment.ready:
            self._bad_starts += 1
            if self._bad_starts >= MAX_BAD_STARTS:
                raise GigacountError(f"every worker dies while it loads the networks ({reason}); free some memory")
        failed: list[WorkerReport] = []
        for key, task in assignment.tasks.items():
            self.tidy(task.item)
            if self._tries[key] + 1 < MAX_TRIES:
                self._try_again(task, assignment.worker.node)
            else:
                message = f"two workers died while they counted it ({reason}): too little memory, or a damaged image"
                failed.append(Finished(key, failed_row(task.item, f"{task.item.path}: {message}")))
        return failed

    def _end_overdue(self, assignment: Assignment, limit: float) -> list[WorkerReport]:
        """End a worker that has an image for too long: nothing else ends a decoder that hangs."""
        now = time.monotonic()
        overdue = {key for key, since in assignment.since.items() if now - since > limit}
        if not overdue:
            return []
        assignment.worker.kill()
        self.assignments.remove(assignment)
        for task in assignment.tasks.values():
            self.tidy(task.item)
        self._suspects.extend((task, "") for key, task in assignment.tasks.items() if key not in overdue)
        tasks = [assignment.tasks[key] for key in overdue]
        message = f"took longer than the time limit of {limit:g} seconds"
        return [Finished(task.item.key, failed_row(task.item, f"{task.item.path}: {message}", limit)) for task in tasks]
