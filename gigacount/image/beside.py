"""Files beside a picture that say more about it: GDAL's .aux.xml and .msk, world files, coordinate systems."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 2**24
"""Of a file beside a picture that is read as text: more is none."""


def aux_names(path: Path) -> list[str]:
    """GDAL's `photo.tif.aux.xml`, and `photo.aux.xml` as Esri names it."""
    return [f"{path.name}.aux.xml", f"{path.stem}.aux.xml"]


def mask_names(path: Path) -> list[str]:
    return [f"{path.name}.msk"]


def world_names(path: Path) -> list[str]:
    """`photo.tfw`, `photo.tifw`, `photo.wld`; none of a picture whose name has no ending."""
    kind = path.suffix.lstrip(".")
    return [f"{path.stem}.{end}" for end in (f"{kind[0]}{kind[-1]}w", f"{kind}w", "wld")] if kind else []


def system_names(path: Path) -> list[str]:
    return [f"{path.stem}.prj"]


def rpc_names(path: Path) -> list[str]:
    """Rational polynomials of satellite pictures."""
    return [f"{path.stem}{end}" for end in ("_rpc.txt", "_RPC.TXT", ".rpb")]


def sidecars(path: Path) -> list[Path]:
    """All files beside a picture that are read with it, whether they are there or not."""
    names = [*aux_names(path), *mask_names(path), *world_names(path), *system_names(path)]
    return [path.with_name(spelled) for name in names for spelled in _spellings(path, name)]


def find(path: Path, names: list[str]) -> Path | None:
    """The first of these files that is there, its ending in small or capital letters."""
    for name in names:
        for spelled in _spellings(path, name):
            file = path.with_name(spelled)
            try:
                if file.is_file():
                    return file
            except (OSError, ValueError):  # a name too long for the file system
                continue
    return None


def content(path: Path, names: list[str]) -> bytes | None:
    """What the first of these files holds. Raises OSError, ValueError for one that is too large."""
    file = find(path, names)
    if file is None:
        return None
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is too large")
    return file.read_bytes()


def _spellings(path: Path, name: str) -> list[str]:
    return list(dict.fromkeys([name, path.stem + name[len(path.stem) :].upper()]))
