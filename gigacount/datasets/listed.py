"""Lists of images, a line each: data set, tab, file name; a training run so names what it held out.

Images of one data set may share their file names, as the frames of several videos do: then as many of the folders
that they lie in stand before the names as tell them apart, `12/001.jpg`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from gigacount.errors import DataError


class PictureList:
    """Which images a list names: by data set, and the last parts of their paths."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._entries = {(name, PurePosixPath(picture).parts) for name, picture in entries}
        self._depths = {len(parts) for _, parts in self._entries}

    def holds(self, name: str, picture: Path) -> bool:
        return any((name, picture.parts[-depth:]) in self._entries for depth in self._depths)


def read_list(file: Path) -> PictureList:
    """Raises DataError naming the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot read the list of held-out pictures: {error}") from error
    entries: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        name, tab, picture = line.partition("\t")
        if not tab or not picture or "\t" in picture:
            raise DataError(f"{file}, line {number}: expected a data set, a tab and a picture's file name")
        entries.append((name, picture))
    return PictureList(entries)


def names_apart(pictures: Sequence[Path]) -> dict[Path, str]:
    """What to call each of one data set's images in a list, among all of that set's images."""
    found: dict[Path, str] = {}
    left, depth = set(pictures), 0
    while left:
        depth += 1
        ends = Counter(picture.parts[-depth:] for picture in pictures)
        for picture in list(left):
            if ends[picture.parts[-depth:]] == 1 or depth >= len(picture.parts):
                found[picture] = "/".join(part for part in picture.parts[-depth:] if part != picture.anchor)
                left.remove(picture)
    return found
