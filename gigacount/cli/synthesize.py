"""`gigacount synthesize`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_size
from gigacount.cli.show import progress_bar, say
from gigacount.errors import DataError, ExistsError, OutputError, UnknownNameError, UsageError
from gigacount.options import GenerateOptions, LabelOptions
from gigacount.output.files import replacing

if TYPE_CHECKING:
    from gigacount.datasets import Sample

SCENE_SIZE = "26908x15024"
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

    def read(self, labels: LabelOptions) -> tuple[list[Sample], list[Path]]:
        """Labelled photographs and people-free pictures. Raises DataError where the list leaves no photograph."""
        from gigacount.datasets import load
        from gigacount.datasets.entries import strict
        from gigacount.datasets.published import read_people_free

        photos, listed = self.photos or [], read_listed(self.only)
        samples = [
            sample
            for spec in photos
            for sample in load(spec, self.split, say, labels)
            if listed(spec.split(":")[0], sample.image)
        ]
        if photos and not samples:
            raise DataError(f"none of the pictures in {self.only} is in {', '.join(photos)}; check names and --split")
        free = read_people_free(self.backgrounds, "all", strict) if self.backgrounds else []
        return samples, [sample.image for sample in free if listed("people-free", sample.image)]


@dataclass(frozen=True)
class Prompting:
    """What a diffusion model makes pictures of (PromptMix); nothing where scenes are made."""

    prompts: Annotated[
        Path | None,
        typer.Option(help="File of prompts, one a line, of which --model makes pictures; written by --captioner."),
    ] = None
    model: Annotated[
        str | None, typer.Option(help="Text-to-image diffusion model: a folder, or a name that diffusers fetches.")
    ] = None
    captioner: Annotated[
        str | None,
        typer.Option(help="Captioning model that writes a prompt for each of --photos into --prompts first."),
    ] = None
    steps: Annotated[int, typer.Option(help="Denoising steps of the diffusion model.")] = GenerateOptions(
        "", Path()
    ).steps
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps, for these models.")] = "auto"

    def wanted(self) -> bool:
        """Whether pictures or captions are wanted at all. Raises UsageError for half of what it takes."""
        if self.prompts is None and (self.model or self.captioner):
            raise UsageError("--model and --captioner work on --prompts, a file with a line for each picture")
        if self.prompts is not None and not (self.model or self.captioner):
            raise UsageError("--prompts needs --model, a text-to-image model, or --captioner, which writes them")
        return self.prompts is not None


@spread
def synthesize(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the scenes and their truth, or the pictures of prompts.")],
    size: Annotated[
        str | None,
        typer.Option(help=f"Pixels, WIDTHxHEIGHT; default: {SCENE_SIZE}, of prompts what the model makes."),
    ] = None,
    people: Annotated[int, typer.Option(help="Heads in a scene.")] = 4000,
    scenes: Annotated[int, typer.Option(help="How many scenes, or pictures of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first scene; the next ones count on.")] = 0,
    material: Material,
    labelling: shared.Labelling,
    prompting: Prompting,
    picture_format: Annotated[str, typer.Option("--format", help="tif (tiled, pyramidal) or jpg.")] = "tif",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Make gigapixel scenes whose truth is known: drawn figures, or labelled photographs laid together.

    Prints each picture's path and head count. Beside it stand the heads as CSV and GeoJSON, and for all scenes together
    annotations in PANDA's format. With --prompts, pictures that a diffusion model makes of them, which nobody has
    labelled: for `gigacount train --mix`.
    """
    read = partial(material.read, labelling.options())
    if prompting.wanted():
        return picture_prompts(prompting, read, out, size, scenes, seed, quiet)
    if picture_format not in SUFFIXES:
        raise UnknownNameError("format", picture_format, SUFFIXES)
    if scenes < 1:
        raise UsageError(f"scenes must be at least 1, not {scenes}")
    size_wh = parse_size(size or SCENE_SIZE, "--size")
    from gigacount.synthesize import (
        SceneOptions,
        compose_scene,
        draw_scene,
        write_panda,
        write_scene,
        write_truth,
    )

    samples, grounds = read()
    options = [SceneOptions(size_wh=size_wh, people=people, seed=seed + number) for number in range(scenes)]
    pictures = [out / f"scene-{one.seed}{SUFFIXES[picture_format]}" for one in options]
    for path in pictures:
        if path.exists():
            raise ExistsError(f"{path} exists already; choose another --seed or --out")
    make_folder(out)
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


ReadMaterial = Callable[[], "tuple[list[Sample], list[Path]]"]


def picture_prompts(
    prompting: Prompting, read: ReadMaterial, out: Path, size: str | None, each: int, seed: int, quiet: bool
) -> int:
    """Captions of photographs where asked for, then pictures of all prompts; prints the path of each."""
    from gigacount.train.generate import captions, generate, read_prompts

    assert prompting.prompts is not None
    notify = (lambda line: None) if quiet else say
    size_wh = None if size is None else parse_size(size, "--size")
    options = GenerateOptions(prompting.model or "", out, each, size_wh, prompting.steps, seed, prompting.device)
    if prompting.captioner is not None and not prompting.prompts.exists():
        samples, _ = read()
        if not samples:
            raise UsageError("--captioner describes labelled photographs; name them with --photos NAME:PATH")
        lines = list(captions(samples, prompting.captioner, prompting.device))
        with replacing(prompting.prompts, overwrite=False) as fresh:
            fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        notify(f"{prompting.prompts}: {len(lines)} prompts")
    prompts = read_prompts(prompting.prompts)
    if prompting.model is not None:
        make_folder(out)
        for path in generate(options, prompts, notify):
            typer.echo(path)
    return 0


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from error


def read_listed(only: Path | None) -> Callable[[str, Path], bool]:
    """Whether a picture of a data set is in the list; all are where there is no list. Raises DataError."""
    if only is None:
        return lambda name, image: True
    from gigacount.datasets.listed import read_list

    return read_list(only).holds
