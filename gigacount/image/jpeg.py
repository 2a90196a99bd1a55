"""The header of a JPEG file: what decides who can decode it, and a cleaned start where cameras wrote it wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gigacount.geometry import Size

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS = 0xC0, 0xC1, 0xC2, 0xC3
ARITHMETIC = (0xC9, 0xCA)
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
SCAN = 0xDA
MAX_HEADER = 2**26  # bytes before the first scan that are read; profiles and previews take some megabytes at most


@dataclass(frozen=True)
class JpegHeader:
    """frame: the marker of the frame, which says the process. clean: the file's start up to the first scan with what
    cameras get wrong set right, where there is something; its scan begins at `scan_at` of the file.
    """

    frame: int
    precision: int
    size_wh: Size
    clean: bytes | None
    scan_at: int

    @property
    def refusal(self) -> str | None:
        """What libvips does not decode about it, in words."""
        if self.precision != 8:
            return f"{self.precision}-bit JPEG"
        if self.frame not in (BASELINE, EXTENDED, PROGRESSIVE, *ARITHMETIC):
            return "lossless JPEG" if self.frame in (LOSSLESS, 0xCB) else "hierarchical JPEG"
        return None


def read_header(path: Path) -> JpegHeader | None:
    """The header of a JPEG file; None for another file, or one that ends before its first scan. Raises OSError."""
    with path.open("rb") as file:
        return _read(file) if file.read(2) == b"\xff\xd8" else None


def whole_scans(path: Path) -> int:
    """How many scans of a JPEG file have come to their end. Raises OSError."""
    header = read_header(path)
    if header is None:
        return 0
    found, last = 0, b""
    with path.open("rb") as file:
        file.seek(header.scan_at)
        while block := file.read(2**20):
            # Within a scan, 0xFF is never followed by these.
            found += sum((last + block).count(marker) for marker in (b"\xff\xda", b"\xff\xd9"))
            last = block[-1:]
    return found


def _read(file: BinaryIO) -> JpegHeader | None:
    kept, odd = [b"\xff\xd8"], False
    frame: tuple[int, bytes] | None = None
    while file.tell() < MAX_HEADER:
        marker, skipped = _next_marker(file)
        if marker is None:
            return None
        odd |= skipped
        if marker in (0x01, *range(0xD0, 0xD8)):  # markers that stand alone
            continue
        length = int.from_bytes(file.read(2), "big")
        body = file.read(length - 2) if length >= 2 else b""
        if length < 2 or len(body) < length - 2:
            return None
        if marker in FRAMES and frame is None:
            frame = marker, body
        if marker == SCAN:
            if frame is None or len(frame[1]) < 6:
                return None
            if frame[0] in (BASELINE, EXTENDED) and body[-3:] != b"\0\x3f\0":
                # Scan parameters are fixed in these processes; some cameras write zeros (Samsung).
                body, odd = body[:-3] + b"\0\x3f\0", True
            kept.append(b"\xff\xda" + length.to_bytes(2, "big") + body)
            process, start = frame
            size_wh = int.from_bytes(start[3:5], "big"), int.from_bytes(start[1:3], "big")
            return JpegHeader(process, start[0], size_wh, b"".join(kept) if odd else None, file.tell())
        kept.append(bytes((0xFF, marker)) + length.to_bytes(2, "big") + body)
    return None


def _next_marker(file: BinaryIO) -> tuple[int | None, bool]:
    """The next marker, and whether bytes that belong to nothing lay before it."""
    skipped = False
    byte = file.read(1)
    while byte:
        if byte == b"\xff":
            following = file.read(1)
            while following == b"\xff":  # fill bytes are allowed
                following = file.read(1)
            if not following:
                return None, skipped
            if following != b"\0":
                return following[0], skipped
        skipped = True
        if file.tell() > MAX_HEADER:
            return None, skipped
        byte = file.read(1)
    return None, skipped
