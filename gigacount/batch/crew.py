"""The crew: which worker has which picture, how long already, and what happens when a worker dies."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from gigacount.batch.records import failed_row
from gigacount.batch.seats import Broken, Engine, Finished, Ready, Report, Seat, Started
from gigacount.batch.work import Task
from gigacount.batch.worklist import Item
from gigacount.errors import GigacountError, UsageError

STARTS = 3
TRIES = 2
GRACE_SECONDS = 5.0


@dataclass
class Station:
    """A seat with what is on its desk: tasks by key, and since when each is worked on."""

    seat: Seat
    ready: bool = False
    alone: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)


class Crew:
    """Hands tasks to seats and collects reports. Every task that was given comes back as one Finished.

    A picture whose worker died is tried once more, on a worker that has nothing else, so that its neighbours are not
    blamed for it; then it has failed.
    """

    def __init__(self, engine: Engine, time_limit: float | None = None) -> None:
        self.engine, self.time_limit = engine, time_limit
        self.stations: list[Station] = []
        self._suspects: deque[tuple[Task, str]] = deque()  # to try again, and the node to avoid
        self._tries: Counter[str] = Counter()
        self._bad_starts = 0

    @property
    def active(self) -> list[Item]:
        """The items that are worked on, or will be again."""
        tasks = [task for station in self.stations for task in station.tasks.values()]
        return [task.item for task in (*tasks, *(task for task, _ in self._suspects))]

    def has_room(self, waiting: int) -> bool:
        """Whether a task may be given now. Starts workers where `waiting` tasks need more of them."""
        wanted = min(self.engine.most(), waiting + len(self.active))
        while len(self.stations) < wanted:
            self.stations.append(Station(self.engine.open_seat()))
        return not self._suspects and any(map(self._is_free, self.stations))

    def give(self, task: Task) -> None:
        """Hand a task to the least busy worker; only after `has_room`."""
        self._hand(min(filter(self._is_free, self.stations), key=lambda station: len(station.tasks)), task)

    def wait(self, seconds: float) -> list[Report]:
        """What happens within `seconds`, or as soon as something does.

        Raises GigacountError where no worker can work.
        """
        self._retry_suspects()
        self.engine.wait([station.seat for station in self.stations], seconds)
        reports: list[Report] = []
        for station in list(self.stations):
            for report in station.seat.reports():
                reports += self._heard(station, report)
            if (reason := station.seat.lost()) is not None:
                reports += self._bury(station, reason)
            elif self.time_limit is not None:
                reports += self._end_overdue(station, self.time_limit)
        return reports

    def stop(self) -> list[Finished]:
        """End all workers: at once those with nothing to do; the others get some seconds to drop their work cleanly.

        Returns what was finished in those seconds.
        """
        finished: list[Finished] = []
        busy = [station.seat for station in self.stations if station.tasks]
        for seat in busy:
            seat.ask_to_stop()
        patience = time.monotonic() + GRACE_SECONDS
        while busy and time.monotonic() < patience:
            self.engine.wait(busy, 0.1)
            finished += [report for seat in busy for report in seat.reports() if isinstance(report, Finished)]
            busy = [seat for seat in busy if seat.lost() is None]
        for station in self.stations:
            station.seat.kill()
        self.stations = []
        self.engine.close()
        return finished

    def _is_free(self, station: Station) -> bool:
        return station.ready and not station.alone and len(station.tasks) < self.engine.capacity

    def _hand(self, station: Station, task: Task, alone: bool = False) -> None:
        station.tasks[task.item.key], station.alone = task, alone
        station.seat.give(task)

    def _retry_suspects(self) -> None:
        if not self._suspects:
            return
        self.has_room(0)
        for _ in range(len(self._suspects)):
            task, node = self._suspects.popleft()
            ready = [station for station in self.stations if station.ready]
            elsewhere = [station for station in ready if station.seat.node != node]
            idle = [station for station in elsewhere or ready if not station.tasks]
            if idle:
                self._hand(idle[0], task, alone=True)
            else:
                self._suspects.append((task, node))

    def _heard(self, station: Station, report: Report) -> list[Report]:
        match report:
            case Ready():
                station.ready, self._bad_starts = True, 0
                return []
            case Broken(message, exit_code):
                raise (UsageError if exit_code == UsageError.exit_code else GigacountError)(message)
            case Started(key):
                station.since[key] = time.monotonic()
            case Finished(key, row):
                task = self._drop(station, key)
                if row.failed and self.engine.retry_elsewhere and self._tries[key] == 0:
                    self._try_again(task, station.seat.node)
                    return []
        return [report]

    def _drop(self, station: Station, key: str) -> Task:
        station.since.pop(key, None)
        station.alone = False
        return station.tasks.pop(key)

    def _try_again(self, task: Task, avoid: str = "") -> None:
        self._tries[task.item.key] += 1
        self._suspects.append((task, avoid))

    def _bury(self, station: Station, reason: str) -> list[Report]:
        """A worker has died: its pictures are tried once more, or have failed."""
        self.stations.remove(station)
        if not station.ready:
            self._bad_starts += 1
            if self._bad_starts >= STARTS:
                raise GigacountError(f"no worker survives loading the networks ({reason}); is there enough memory?")
        failed: list[Report] = []
        for key, task in station.tasks.items():
            if self._tries[key] + 1 < TRIES:
                self._try_again(task, station.seat.node)
            else:
                message = f"the worker died of it twice ({reason}): too little memory, or a damaged picture"
                failed.append(Finished(key, failed_row(task.item, f"{task.item.path}: {message}")))
        return failed

    def _end_overdue(self, station: Station, limit: float) -> list[Report]:
        """End a worker that has a picture for too long: nothing else ends a decoder that hangs."""
        now = time.monotonic()
        overdue = {key for key, since in station.since.items() if now - since > limit}
        if not overdue:
            return []
        station.seat.kill()
        self.stations.remove(station)
        self._suspects.extend((task, "") for key, task in station.tasks.items() if key not in overdue)
        tasks = [station.tasks[key] for key in overdue]
        message = f"took longer than the time limit of {limit:g} seconds"
        return [Finished(task.item.key, failed_row(task.item, f"{task.item.path}: {message}", limit)) for task in tasks]
