"""`gigacount synthesize`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_size
from gigacount.cli.show import progress_bar
from gigacount.errors import DataError, OutputError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from gigacount.datasets import Sample

SUFFIXES = {"tif": ".tif", "jpg": ".jpg"}


@dataclass(frozen=True)
class Material:
    """What scenes are composed of; nothing where they are drawn."""

    photos: Annotated[
        list[str] | None, typer.Option(metavar="NAME:PATH", help="Compose labelled photographs instead of drawing.")
    ] = None
    split: Annotated[str, typer.Option(help="Split of the photographs.")] = "train"
    backgrounds: Annotated[Path | None, typer.Option(help="Folder of people-free pictures for the ground.")] = None
    only: Annotated[
        Path | None,
        typer.Option(help="Use only the pictures in this list, such as the validation.txt of a training."),
    ] = None

    def read(self) -> tuple[list[Sample], list[Path]]:
        """Labelled photographs and people-free pictures. Raises DataError where the list leaves no photograph."""
        from gigacount.datasets import read
        from gigacount.datasets.people_free import read_people_free

        photos, listed = self.photos or [], read_listed(self.only)
        samples = [s for spec in photos for s in read(spec, self.split) if listed(spec.split(":")[0], s.image)]
        if photos and not samples:
            raise DataError(f"none of the pictures in {self.only} is in {', '.join(photos)}; check names and --split")
        free = read_people_free(self.backgrounds, "all") if self.backgrounds else []
        return samples, [sample.image for sample in free if listed("people-free", sample.image)]


@spread
def synthesize(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the scenes and their truth.")],
    size: Annotated[str, typer.Option(help="Pixels of a scene, WIDTHxHEIGHT.")] = "26908x15024",
    people: Annotated[int, typer.Option(help="Heads in a scene.")] = 4000,
    scenes: Annotated[int, typer.Option(help="How many scenes.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first scene; the next ones count on.")] = 0,
    material: Material,
    picture_format: Annotated[str, typer.Option("--format", help="tif (tiled, pyramidal) or jpg.")] = "tif",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Make gigapixel scenes whose truth is known: drawn figures, or labelled photographs laid together.

    Prints each picture's path and head count. Beside it stand the heads as CSV and GeoJSON, and for all scenes together
    annotations in PANDA's format.
    """
    if picture_format not in SUFFIXES:
        raise UnknownNameError("format", picture_format, SUFFIXES)
    if scenes < 1:
        raise UsageError(f"scenes must be at least 1, not {scenes}")
    size_wh = parse_size(size, "--size")
    from gigacount.synthesize import (
        SceneOptions,
        compose_scene,
        draw_scene,
        write_panda,
        write_scene,
        write_truth,
    )

    samples, grounds = material.read()
    options = [SceneOptions(size_wh=size_wh, people=people, seed=seed + number) for number in range(scenes)]
    pictures = [out / f"scene-{one.seed}{SUFFIXES[picture_format]}" for one in options]
    for path in pictures:
        if path.exists():
            raise OutputError(f"{path} exists already; choose another --seed or --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from error
    truths = {}
    for one, path in zip(options, pictures, strict=True):
        scene = compose_scene(one, samples, grounds) if samples else draw_scene(one)
        with progress_bar(path.name, quiet) as progress:
            write_scene(scene, path, progress=progress)
        write_truth(scene.truth, path)
        truths[path.name] = scene.truth
        typer.echo(f"{path}\t{len(scene.truth.points_xy)}")
    write_panda(truths, out)
    return 0


def read_listed(only: Path | None) -> Callable[[str, Path], bool]:
    """Whether a picture of a data set is in the list; all are where there is no list. Raises DataError."""
    if only is None:
        return lambda name, image: True
    from gigacount.datasets.listed import read_list

    return read_list(only).holds
