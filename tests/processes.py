"""What a process takes, as it sees it itself."""

from __future__ import annotations

import re
from pathlib import Path


def memory_bytes() -> tuple[int, int]:
    """The peak of this process's resident memory, and what it has now.

    Not `ru_maxrss`: a new program inherits that of the process that started it, and pytest's own grows to gigabytes.
    """
    status = Path("/proc/self/status").read_text()
    peak, now = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ("VmHWM", "VmRSS"))  # type: ignore[index]
    return peak, now
