"""Measurements on disk, a line of JSON each: what was measured before a stop, of any kind, is never measured again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gigacount.ablate.measure import Measurement
from gigacount.errors import DataError, ExistsError
from gigacount.output.files import explained
from gigacount.output.stored import fits, number, optional, size, text, whole

FILE = "measured.jsonl"

SEEN = {"level": whole, "scale": size, "area": size, "truth": whole, "count": number, "head_px": optional(size)}
MEASUREMENT: dict[str, Any] = {
    "key": text,
    "image": text,
    "truth": size,
    "count": number,
    "truth_grid": [[number]],
    "count_grid": [[number]],
    "inferences": whole,
    "pixels": whole,
    "seconds": size,
    "seen": [SEEN],
}


class Records:
    """The measurements in a folder. A process killed while it wrote leaves a torn last line, which does not count."""

    def __init__(self, folder: Path) -> None:
        """Raises OutputError for a folder that holds something else, DataError for a damaged file of measurements."""
        self.file = folder / FILE
        if folder.exists() and not self.file.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExistsError(f"{folder} holds no earlier ablation; choose another --out")
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.file.touch()
            content = self.file.read_bytes()
        entries, _, torn = content.rpartition(b"\n")
        if torn:
            with explained(self.file):
                os.truncate(self.file, len(content) - len(torn))
        lines = entries.split(b"\n") if entries else []
        self._known = {one.key: one for one in map(self._parse, lines, range(1, len(lines) + 1))}

    def find(self, key: str) -> Measurement | None:
        return self._known.get(key)

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement, on disk before this returns. Raises OutputError."""
        with explained(self.file), self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(measurement.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[measurement.key] = measurement

    def _parse(self, line: bytes, number: int) -> Measurement:
        try:
            values = json.loads(line)
            if not fits(values, MEASUREMENT):
                raise ValueError("no measurement")
            return Measurement.from_dict(values)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.file}, line {number}: no measurement; remove that line, or choose another --out"
            ) from error
