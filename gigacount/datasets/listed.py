"""Lists of images, a line each: data set, tab, file name; a training run so names what it held out.

Images of one data set may share their file names, as the frames of several videos do: then as many of the folders
that they lie in stand before the names as tell them apart, `12/001.jpg`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from gigacount.errors import DataError


class ImageList:
    """Which images a list names: by data set, and the last parts of their paths."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._entries = {(name, PurePosixPath(image).parts) for name, image in entries}
        self._depths = {len(parts) for _, parts in self._entries}

    def holds(self, name: str, image: Path) -> bool:
        return any((name, image.parts[-depth:]) in self._entries for depth in self._depths)


def read_list(file: Path) -> ImageList:
    """Raises DataError naming the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot read the list of held-out images: {error}") from error
    entries: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        name, tab, image = line.partition("\t")
        if not tab or not image or "\t" in image:
            raise DataError(f"{file}, line {number}: expected a data set, a tab and an image's file name")
        entries.append((name, image))
    return ImageList(entries)


def names_apart(images: Sequence[Path]) -> dict[Path, str]:
    """What to call each of one data set's images in a list, among all of that set's images."""
    found: dict[Path, str] = {}
    left, depth = set(images), 0
    while left:
        depth += 1
        ends = Counter(image.parts[-depth:] for image in images)
        for image in list(left):
            if ends[image.parts[-depth:]] == 1 or depth >= len(image.parts):
                found[image] = "/".join(part for part in image.parts[-depth:] if part != image.anchor)
                left.remove(image)
    return found
