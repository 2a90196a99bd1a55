"""The work list: folders, patterns, lists and images become items, each with a result folder of its own."""

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

from gigacount.atomic import fitting_name
from gigacount.errors import ImageError, UsageError
from gigacount.output.folder import OWN_ENDINGS, RESULT_ENDING
from gigacount.text import plural

LIST_ENDINGS = (".txt", ".lst", ".list")
STANDARD_INPUT = Path("-")
OWN_NAMES = ("summary.csv", "summary.json")
THUMBNAILS = ("@eadir", "@__thumb", ".thumbnails", ".thumbs", "thumbnails.lrdata", "__macosx")
"""Folders in which programs keep small copies of the photographs beside them, in lower case."""

BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
PATH_BYTES = 4096
"""Longest path that common systems accept."""

HEAD_BYTES = 32

KNOWN_ENDINGS = (
    "jpg jpeg jpe jfif png tif tiff btf svs ndpi webp gif bmp jp2 j2k jpx jxl heic heif avif ppm pgm pnm pfm exr hdr v "
    "vips "
    # Of cameras, microscopes, maps and editors: read or refused, but never passed over.
    "dng cr2 cr3 nef nrw arw srw raf orf rw2 pef iiq 3fr x3f psd psb tga qoi jxr jpf jpm j2c ecw sid fits mrxs scn czi"
)
ENDINGS = frozenset(f".{ending}" for ending in KNOWN_ENDINGS.split())
"""A file in a folder with such an ending is listed whatever its content: if it is damaged, the user is told."""

STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"II*\x00",  # TIFF, either byte order, and BigTIFF
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"GIF87a",
    b"GIF89a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000: box and codestream
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n",  # JPEG XL: box and codestream
    b"\xff\x0a",
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"#?RADIANCE",
    b"\x08\xf2\xa6\xb6",  # libvips, either byte order
    b"\xb6\xa6\xf2\x08",
)

PATTERNS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"RIFF....WEBP",
        rb"....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis)",  # HEIF and AVIF, but not MP4
        rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",  # BMP; "BM" alone starts many a text
        rb"P[1-6Ff][ \t\r\n]+[\d#]",  # netpbm
    )
)


@dataclass(frozen=True)
class Item:
    """One image to work on: where it is, its name within the batch, and the folder that gets its results."""

    path: Path
    name: str
    folder: Path

    @cached_property
    def key(self) -> str:
        """The name as 32 hexadecimal digits: a file name that is safe and short, whatever the image is called."""
        return digest(self.name, 16)

    @cached_property
    def source(self) -> str:
        """The image's absolute path."""
        return absolute(self.path)


def work_list(
    arguments: Sequence[Path], out: Path | None, recursive: bool = False, say: Callable[[str], None] | None = None
) -> list[Item]:
    """Every image that the arguments name, once, in their order; folders sorted by name.

    An argument is a folder, a list of paths (`.txt`, or `-` for standard input), a pattern such as `photos/**/*.tif`,
    or an image. Results go to `out`/NAME.gigacount. NAME is the path inside the folder where one folder is the only
    argument, else the path from the working folder, or from the root for images outside it: so names differ where
    images do, and none leads out of `out`. Without `out` results go beside the images. A link to an image that is
    on the list, too, is left out. say: told which folders were left out because they hold thumbnails or tiles.

    Raises UsageError for a list that cannot be read, a pattern that fits nothing, or where there is no image at all.
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
        raise UsageError(f"{', '.join(map(str, arguments))}: no images there{hint}")
    start = absolute(alone or Path())
    items = [place(path, inner_name(source, start), out) for source, path in found.items()]
    return list(without_clashes(items, out))


def require_no_pipe(path: Path) -> None:
    """Raise ImageError for a pipe or a device: it can be read once, and images are read several times."""
    if kind(path) == "special":
        raise ImageError(f"{path}: a pipe or device, not a file; save it as one; a list of paths comes through '-'")


def is_one_image(arguments: Sequence[Path]) -> bool:
    """Whether the arguments are one image, existing or not, rather than a folder, list or pattern."""
    if len(arguments) != 1 or arguments[0] == STANDARD_INPUT:
        return False
    found = kind(arguments[0])
    pattern = found is None and glob.has_magic(str(arguments[0]))
    return found != "folder" and not pattern and not is_list(arguments[0])


def share(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """The i-th of n parts, dealt out like cards, i from 1: neighbours, often of one size, go to different parts."""
    part, parts = shard
    return list(items[part - 1 :: parts])


def expand(argument: Path, walk: Walk) -> Iterator[Path]:
    """The images that one argument names."""
    found = kind(argument)
    pattern = found is None and glob.has_magic(str(argument))
    if found == "folder":
        yield from walk(argument)
    elif argument == STANDARD_INPUT or (is_list(argument) and (found == "file" or not (found or pattern))):
        for entry in filter(is_no_result, read_list(argument)):
            yield from walk(entry) if kind(entry) == "folder" else [entry]
    elif pattern:
        fitting = map(Path, sorted(glob.glob(str(argument), recursive=True)))  # noqa: PTH207  Path.glob takes no absolute ones
        images = [path for path in fitting if kind(path) != "folder" and is_no_result(path)]
        if not images:
            raise UsageError(f"no image fits the pattern '{argument}'")
        yield from images
    else:
        yield argument


class Walk:
    """The images in folders. left_out: what was not entered, and how often."""

    def __init__(self, out: Path | None, recursive: bool) -> None:
        self.out, self.recursive = out and out.resolve(), recursive
        self.left_out: Counter[str] = Counter()

    def __call__(self, folder: Path) -> Iterator[Path]:
        """The images in a folder, sorted by name; hidden files, results and `out` itself are left out.

        Links to images are followed; links to folders are not, since they may lead in circles.
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
    """What a folder of images holds instead of photographs, such as thumbnails; None for photographs."""
    name = folder.name.lower()
    if name in THUMBNAILS:
        return f"thumbnails ({folder.name})"
    tiles = name.endswith("_files") and folder.with_name(f"{folder.name[:-6]}.dzi").exists()
    tiles = tiles or (name.startswith("tilegroup") and folder.with_name("ImageProperties.xml").exists())
    return "tiles of a zoomable image" if tiles else None


def without_links(named: Mapping[str, Path]) -> dict[str, Path]:
    """One name for each image: of several, the one that is no link, or the first. Absolute path -> path as given."""
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
    return path.suffix.lower() in LIST_ENDINGS and not holds_image(path)


def read_list(path: Path) -> list[Path]:
    """The paths in a list: one a line, or separated by zero bytes; empty lines and lines that start with # are skipped.

    A path counts from the working folder; where nothing is there, from the folder of the list.
    """
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read this list: {error.strerror}") from error
    if is_image(content[:HEAD_BYTES]):
        raise UsageError(f"{path}: an image, not a list of paths; save it as a file and give its name")
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
    """Whether a path is outside result folders, whose images must not be counted by the next run."""
    return not any(part.endswith(OWN_ENDINGS) for part in path.parts)


def absolute(path: Path) -> str:
    """An absolute path without `..`; other links are kept, because images are known by the names they are given."""
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())


def kind(path: Path) -> str | None:
    """folder, file or special (a pipe, a device); None where there is nothing, or nothing that may be looked at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def inner_name(source: str, start: str) -> str:
    """A relative path without `..`: from `start` where the image is inside it, else from the root."""
    path = PurePath(source)
    parts = path.relative_to(start).parts if path.is_relative_to(start) else path.parts[1:]
    # A folder called like our own files would put results among them.
    folders = [part + "_" if part.endswith(RESULT_ENDING) or part in OWN_NAMES else part for part in parts[:-1]]
    return "/".join([*folders, parts[-1] if parts else "root"])


def place(path: Path, name: str, out: Path | None) -> Item:
    beside = path if out is None else out / name
    return Item(path, name, beside.parent / fitting_name(beside.name or "root", RESULT_ENDING))


def without_clashes(items: Iterable[Item], out: Path | None) -> Iterator[Item]:
    """Give an image whose name is taken by another one a name with a hash of its path in it."""
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


def is_image(head: bytes) -> bool:
    """Whether a file that starts with `head` (HEAD_BYTES suffice) is an image of a kind that can be read."""
    return head.startswith(STARTS) or any(pattern.match(head) for pattern in PATTERNS)


def holds_image(path: Path) -> bool:
    """Whether the content of a regular file is an image; False where it cannot be read."""
    try:
        if not path.is_file():  # reading from a pipe would wait, and take what it holds
            return False
        with path.open("rb") as file:
            return is_image(file.read(HEAD_BYTES))
    except OSError:
        return False


def wanted(path: Path) -> bool:
    """Whether a file found in a folder belongs on the list."""
    return path.suffix.lower() in ENDINGS or holds_image(path)
