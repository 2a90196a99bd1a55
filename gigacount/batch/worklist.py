"""The work list: folders, patterns, lists and pictures become items, each with a result folder of its own."""

from __future__ import annotations

import codecs
import glob
import hashlib
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePath, PurePosixPath

from gigacount.batch.pictures import HEAD_BYTES, holds_picture, is_picture, wanted
from gigacount.errors import ImageError, UsageError
from gigacount.output.files import fitting_name
from gigacount.output.folder import OWN_ENDINGS, RESULT_ENDING
from gigacount.text import plural

LIST_ENDINGS = (".txt", ".lst", ".list")
STANDARD_INPUT = Path("-")
OWN_NAMES = ("summary.csv", "summary.json")
THUMBNAILS = ("@eadir", "@__thumb", ".thumbnails", ".thumbs", "thumbnails.lrdata", "__macosx")
"""Folders in which programs keep small copies of the photographs beside them, in lower case."""

BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
PATH_BYTES = 4096
"""The longest path that systems take."""


@dataclass(frozen=True)
class Item:
    """One picture to work on: where it is, its name within the batch, and the folder that gets its results."""

    path: Path
    name: str
    folder: Path

    @cached_property
    def key(self) -> str:
        """The name as 32 hexadecimal digits: a file name that is safe and short, whatever the picture is called."""
        return digest(self.name, 16)

    @cached_property
    def source(self) -> str:
        """The picture's absolute path."""
        return absolute(self.path)


def work_list(
    arguments: Sequence[Path], out: Path | None, recursive: bool = False, say: Callable[[str], None] | None = None
) -> list[Item]:
    """Every picture that the arguments name, once, in their order; folders sorted by name.

    An argument is a folder, a list of paths (`.txt`, or `-` for standard input), a pattern such as `photos/**/*.tif`,
    or a picture. Results go to `out`/NAME.gigacount. NAME is the path inside the folder where one folder is the only
    argument, else the path from the working folder, or from the root for pictures outside it: so names differ where
    pictures do, and none leads out of `out`. Without `out` results go beside the pictures. A link to a picture that is
    on the list, too, is left out. `say` gets a line on folders that were left out, as they hold no photographs.

    Raises UsageError for a list that cannot be read, a pattern that fits nothing, or where there is no picture at all.
    """
    alone = arguments[0] if len(arguments) == 1 and kind(arguments[0]) == "folder" else None
    named: dict[str, Path] = {}
    walk = Walk(out, recursive)
    for argument in arguments:
        for path in expand(argument, walk):
            named.setdefault(absolute(path), path)
    found = without_links(named)
    if say is not None and walk.left_out:
        kinds = (f"{plural(number, 'folder')} of {what}" for what, number in walk.left_out.items())
        say(f"left out {', '.join(kinds)}")
    if not found:
        hint = "" if recursive else "; --recursive looks into the folders inside, too"
        raise UsageError(f"{', '.join(map(str, arguments))}: no pictures there{hint}")
    start = absolute(alone or Path())
    items = [place(path, inner_name(source, start), out) for source, path in found.items()]
    return list(without_clashes(items, out))


def demand_no_pipe(path: Path) -> None:
    """Raise ImageError for a pipe or a device: it can be read once, and pictures are read several times."""
    if kind(path) == "special":
        raise ImageError(f"{path}: a pipe or device, not a file; save it as one; a list of paths comes through '-'")


def is_one_picture(arguments: Sequence[Path]) -> bool:
    """Whether the arguments are a single picture, or what was meant to be one, and no folder, list or pattern."""
    if len(arguments) != 1 or arguments[0] == STANDARD_INPUT:
        return False
    found = kind(arguments[0])
    pattern = found is None and glob.has_magic(str(arguments[0]))
    return found != "folder" and not pattern and not is_list(arguments[0])


def share(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """The i-th of n parts, dealt out like cards, i from 1: neighbours, often of one size, go to different parts."""
    part, parts = shard
    return list(items[part - 1 :: parts])


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int]:
    """(i, n) of this task of a SLURM array; raises UsageError outside one, or where its numbers have gaps."""
    try:
        task, count = (int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "COUNT"))
        first = int(environment.get("SLURM_ARRAY_TASK_MIN", 0))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1)) or 1
    except (KeyError, ValueError) as error:
        raise UsageError(
            "--shard slurm needs SLURM_ARRAY_TASK_ID and _COUNT; run it in an array job (sbatch --array=1-8)"
        ) from error
    index, rest = divmod(task - first, step)
    if rest or not 0 <= index < count:
        raise UsageError(
            f"--shard slurm needs an array without gaps such as --array=1-8; this is task {task} of {count}"
        )
    return index + 1, count


def expand(argument: Path, walk: Walk) -> Iterator[Path]:
    """The pictures that one argument names."""
    found = kind(argument)
    if found == "folder":
        yield from walk(argument)
    elif argument == STANDARD_INPUT or (found == "file" and is_list(argument)):
        for entry in filter(is_no_result, read_list(argument)):
            yield from walk(entry) if kind(entry) == "folder" else [entry]
    elif found is None and glob.has_magic(str(argument)):
        fitting = map(Path, sorted(glob.glob(str(argument), recursive=True)))  # noqa: PTH207  Path.glob takes no absolute ones
        pictures = [path for path in fitting if kind(path) != "folder" and is_no_result(path)]
        if not pictures:
            raise UsageError(f"no picture fits the pattern '{argument}'")
        yield from pictures
    else:
        yield argument


class Walk:
    """The pictures in folders. left_out: what was not entered, and how often."""

    def __init__(self, out: Path | None, recursive: bool) -> None:
        self.out, self.recursive = out and out.resolve(), recursive
        self.left_out: Counter[str] = Counter()

    def __call__(self, folder: Path) -> Iterator[Path]:
        """The pictures in a folder, sorted by name; hidden files, results and `out` itself are none.

        Links to pictures are followed; links to folders are not, since they may lead in circles.
        """
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot list this folder: {error.strerror}; leave it out or make it readable"
            ) from error
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                if self.recursive and self._enters(path):
                    yield from self(path)
            elif not entry.name.startswith(".") and kind(path) not in ("folder", "special") and wanted(path):
                yield path

    def _enters(self, folder: Path) -> bool:
        if folder.name.endswith(OWN_ENDINGS) or (self.out is not None and folder.resolve() == self.out):
            return False
        if (what := no_photographs(folder)) is not None:
            self.left_out[what] += 1
        return what is None and not folder.name.startswith(".")


def no_photographs(folder: Path) -> str | None:
    """What a folder of pictures holds instead of photographs; None where that is not known."""
    name = folder.name.lower()
    if name in THUMBNAILS:
        return f"thumbnails ({folder.name})"
    tiles = name.endswith("_files") and folder.with_name(f"{folder.name[:-6]}.dzi").exists()
    tiles = tiles or (name.startswith("tilegroup") and folder.with_name("ImageProperties.xml").exists())
    return "tiles of a zoomable picture" if tiles else None


def without_links(named: Mapping[str, Path]) -> dict[str, Path]:
    """Of several names of one picture the one that is no link, or else the first; absolute path -> path as named."""
    parents = cache(os.path.realpath)
    kept: dict[str, str] = {}
    for source in named:
        parent, name = os.path.split(source)
        real = os.path.join(parents(parent), name)  # noqa: PTH118  three times as fast, for very many
        target = os.path.realpath(real) if os.path.islink(real) else real  # noqa: PTH114
        if target not in kept or target == source:
            kept[target] = source
    chosen = set(kept.values())
    return {source: path for source, path in named.items() if source in chosen}


def is_list(path: Path) -> bool:
    return path.suffix.lower() in LIST_ENDINGS and not holds_picture(path)


def read_list(path: Path) -> list[Path]:
    """The paths in a list: one a line, or separated by zero bytes; empty lines and lines that start with # are none.

    A path counts from the working folder; where nothing is there, from the folder of the list.
    """
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read this list: {error.strerror}") from error
    if is_picture(content[:HEAD_BYTES]):
        raise UsageError(f"{path}: a picture, not a list of paths; save it as a file and give its name")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows' shells write lists
        content = os.fsencode(content.decode("utf-16", "replace"))
    content = content.removeprefix(codecs.BOM_UTF8)
    lines = content.split(b"\0") if b"\0" in content else [line.strip() for line in content.splitlines()]
    for number, line in enumerate(lines, 1):
        if len(line) > PATH_BYTES or (BINARY.search(line) and not os.path.lexists(line)):
            raise UsageError(f"{path}: not a list of paths: line {number} holds other data")
    entries = [Path(os.fsdecode(line)) for line in lines if line and not line.startswith(b"#")]
    return [entry if kind(entry) or not kind(path.parent / entry) else path.parent / entry for entry in entries]


def is_no_result(path: Path) -> bool:
    """Whether a path is outside our own folders: the pictures in there are not to be counted by the next run."""
    return not any(part.endswith(OWN_ENDINGS) for part in path.parts)


def absolute(path: Path) -> str:
    """An absolute path without `..`; other links are kept, because pictures are known by the names they are given."""
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())


def kind(path: Path) -> str | None:
    """folder, file or special (a pipe, a device); None where there is nothing, or nothing that may be looked at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def inner_name(source: str, start: str) -> str:
    """A relative path without `..`: from `start` where the picture is inside it, else from the root."""
    path = PurePath(source)
    parts = path.relative_to(start).parts if path.is_relative_to(start) else path.parts[1:]
    # A folder called like our own files would put results among them.
    folders = [part + "_" if part.endswith(RESULT_ENDING) or part in OWN_NAMES else part for part in parts[:-1]]
    return "/".join([*folders, parts[-1] if parts else "root"])


def place(path: Path, name: str, out: Path | None) -> Item:
    beside = path if out is None else out / name
    return Item(path, name, beside.parent / fitting_name(beside.name or "root", RESULT_ENDING))


def without_clashes(items: Iterable[Item], out: Path | None) -> Iterator[Item]:
    """Give a picture whose name is taken by another one a name with a hash of its path in it."""
    taken: set[str] = set()
    for item in items:
        if item.name in taken:
            name = PurePosixPath(item.name)
            mark = digest(item.source, 4)
            item = place(item.path, str(name.with_name(f"{name.stem}~{mark}{name.suffix}")), out)
        taken.add(item.name)
        yield item


def digest(text: str, size: int) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=size).hexdigest()
