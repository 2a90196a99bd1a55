"""`gigacount data ...` and `gigacount synthesize`: labelled images, checked and made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gigacount.atomic import replacing
from gigacount.cli.options import App, Quiet, spread
from gigacount.cli.show import progress_bar, say
from gigacount.errors import DataError, ExistsError, OutputError, UnknownNameError, UsageError
from gigacount.geometry import Size
from gigacount.options import GenerateOptions, LabelOptions
from gigacount.options.option import OUTPUT, option, parse_size, require, required

if TYPE_CHECKING:
    from gigacount.datasets import Sample

SCENE_SIZE = (26908, 15024)
SUFFIXES = {"tif": ".tif", "jpg": ".jpg"}

data = App(help="Labelled images: check them, list what can be read.", no_args_is_help=True)


@data.callback()
def root() -> None:
    """Labelled images: check them, list what can be read."""


@data.command()
@spread
def check(
    *,
    spec: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set, such as csv:photos.")],
    split: str = option("all", "train, val, test or all."),
    most: int = option(10, "Name at most this many of each kind of problem."),
    as_json: bool = option(False, "Print one JSON object of counts.", "--json", panel=OUTPUT),
    labels: LabelOptions,
) -> int:
    """Check labels and images. Exit status 1 when something must be mended.

    Examples:

      gigacount data check csv:photos
      gigacount data check panda:PANDA_Crowd --split train --json
    """
    from gigacount.datasets.check import check_dataset

    report = check_dataset(spec, split, labels)
    for line in [json.dumps(report.counts())] if as_json else report.lines(most):
        typer.echo(line)
    return 0 if report.ok else 1


@dataclass(frozen=True)
class BoxesFile:
    """Where heads with boxes go."""

    PANEL: ClassVar[str] = OUTPUT

    out: Path = required("CSV file for heads and boxes, read as csv:FILE with --trust-paths.", "-o", "FILE")
    overwrite: bool = option(False, "Replace an existing file.")

    def __post_init__(self) -> None:
        if self.out.exists() and not self.overwrite:
            raise ExistsError(f"{self.out} exists already; use another --out, or --overwrite")


@data.command()
@spread
def boxes(
    *,
    spec: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set whose heads are points.")],
    network: str = required("Record of a trained head-sizes network.", metavar="RECORD"),
    output: BoxesFile,
    split: str = option("train", "train, val, test or all."),
    enlarge: float = option(1.0, "Enlarge images by this before they are looked at; IIM doubles ShanghaiTech's."),
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps."),
    labels: LabelOptions,
) -> int:
    """Give heads that are points the boxes that a network trained on boxes predicts for them (IIM, 4.1).

    Examples:

      gigacount data boxes shanghaitech-a:SHA --network run/sizes.toml -o boxes.csv
    """
    from gigacount.datasets import load
    from gigacount.train.pseudo_labels import with_boxes, write_labels

    samples = load(spec, split, say, labels)
    write_labels(output.out, with_boxes(samples, network, enlarge, device))
    typer.echo(output.out)
    return 0


@data.command("list")
@spread
def list_names() -> int:
    """List the data sets and label formats that can be read."""
    from gigacount.datasets import DATASETS

    for name in DATASETS:
        typer.echo(name)
    return 0


@dataclass(frozen=True)
class SceneSources:
    """What scenes are composed of; nothing where they are drawn."""

    PANEL: ClassVar[str] = "Composed scenes"

    photos: tuple[str, ...] = option(
        (), "Compose labelled photographs instead of drawing. May be given several times.", metavar="NAME:PATH"
    )
    split: str = option("train", "Split of the photographs.")
    backgrounds: Path | None = option(None, "Folder of images without people, for the ground.")
    only: Path | None = option(None, "Use only the images in this list, such as the validation.txt of a training run.")

    def read(self, labels: LabelOptions) -> tuple[list[Sample], list[Path]]:
        """Labelled photographs, and images without people. Raises DataError where the list leaves no photograph."""
        from gigacount.datasets import load
        from gigacount.datasets.entries import strict
        from gigacount.datasets.listed import read_list
        from gigacount.datasets.published import read_people_free

        listed: Callable[[str, Path], bool] = read_list(self.only).holds if self.only else lambda name, image: True
        samples = [
            sample
            for spec in self.photos
            for sample in load(spec, self.split, say, labels)
            if listed(spec.split(":")[0], sample.image)
        ]
        if self.photos and not samples:
            raise DataError(
                f"none of the images in {self.only} is in {', '.join(self.photos)}; check names and --split"
            )
        free = read_people_free(self.backgrounds, "all", strict) if self.backgrounds else []
        return samples, [sample.image for sample in free if listed("people-free", sample.image)]


@dataclass(frozen=True)
class Prompting:
    """What a diffusion model makes images of (PromptMix); nothing where scenes are made."""

    PANEL: ClassVar[str] = "Images by a diffusion model"

    prompts: Path | None = option(
        None, "File of prompts, one a line, for --model; --captioner writes it if it is missing."
    )
    model: str | None = option(None, "Text-to-image diffusion model: a folder, or a name that diffusers fetches.")
    captioner: str | None = option(
        None, "Captioning model that first writes a prompt for each of --photos into --prompts."
    )
    steps: int = option(GenerateOptions.steps, "Denoising steps of the diffusion model.")
    device: str = option(GenerateOptions.device, "auto, cpu, cuda, cuda:1 or mps, for these models.")

    def __post_init__(self) -> None:
        models = bool(self.model or self.captioner)
        require(self.prompts is not None or not models, "--model and --captioner need --prompts, a file of prompts")
        needs = "--prompts needs --model, a text-to-image model, or --captioner, which writes them"
        require(self.prompts is None or models, needs)


@dataclass(frozen=True)
class Scenes:
    """The scenes, or the images of each prompt, to make."""

    out: Path = required(
        "Folder for the scenes and their ground truth, or the images of prompts.", "-o", "FOLDER", OUTPUT
    )
    size: Size | None = option(
        None,
        f"Size in pixels. Default: {SCENE_SIZE[0]}x{SCENE_SIZE[1]}, for prompts what the model makes.",
        metavar="WIDTHxHEIGHT",
        parse=parse_size,
    )
    people: int = option(4000, "Heads in a scene.")
    view: str = option("side", "side, or above: straight down, as a drone sees; heads of 4 to 40 px, alike in a scene.")
    scenes: int = option(1, "Number of scenes, or of images per prompt.")
    seed: int = option(0, "Seed of the first scene; each further scene adds 1.")
    image_format: str = option("tif", "tif (tiled, pyramidal) or jpg.", "--format", panel=OUTPUT)


@spread
def synthesize(
    *, wanted: Scenes, sources: SceneSources, labels: LabelOptions, prompting: Prompting, quiet: Quiet = False
) -> int:
    """Make gigapixel scenes with known ground truth: drawn figures, or labelled photographs laid together.

    Prints each image's path and head count. Beside it stand the heads as CSV and GeoJSON, and for all scenes together
    annotations in PANDA's format. With --prompts, makes unlabelled images with a diffusion model instead, for
    `gigacount train --mix`.

    Examples:

      gigacount synthesize -o scenes --scenes 3 --people 10000
      gigacount synthesize -o scenes --view above --size 6000x4000 --people 500
      gigacount synthesize -o scenes --photos csv:photos --backgrounds empty/ --size 8000x6000
      gigacount synthesize -o generated --prompts prompts.txt --model stable-diffusion-2
    """
    if prompting.prompts is not None:
        return prompted_images(wanted, prompting, lambda: sources.read(labels)[0], quiet)
    if wanted.image_format not in SUFFIXES:
        raise UnknownNameError("format", wanted.image_format, SUFFIXES)
    require(wanted.scenes >= 1, f"scenes must be at least 1, not {wanted.scenes}")
    from gigacount.synthesize import (
        SceneOptions,
        compose_scene,
        draw_scene,
        write_panda,
        write_scene,
        write_truth,
    )

    samples, grounds = sources.read(labels)
    options = [
        SceneOptions(
            size_wh=wanted.size or SCENE_SIZE, people=wanted.people, seed=wanted.seed + number, view=wanted.view
        )
        for number in range(wanted.scenes)
    ]
    images = [wanted.out / f"scene-{one.seed}{SUFFIXES[wanted.image_format]}" for one in options]
    for path in images:
        if path.exists():
            raise ExistsError(f"{path} exists already; choose another --seed or --out")
    make_folder(wanted.out)
    truths = {}
    for one, path in zip(options, images, strict=True):
        scene = compose_scene(one, samples, grounds) if samples else draw_scene(one)
        with progress_bar(path.name, quiet) as progress:
            write_scene(scene, path, progress=progress)
        write_truth(scene.truth, path)
        truths[path.name] = scene.truth
        typer.echo(f"{path}\t{len(scene.truth.points_xy)}")
    write_panda(truths, wanted.out)
    return 0


def prompted_images(wanted: Scenes, prompting: Prompting, photos: Callable[[], list[Sample]], quiet: bool) -> int:
    """Captions of photographs where asked for, then images of all prompts; prints the path of each."""
    from gigacount.train.generate import captions, generate, read_prompts

    assert prompting.prompts is not None
    notify = (lambda line: None) if quiet else say
    options = GenerateOptions(
        prompting.model or "", wanted.out, wanted.scenes, wanted.size, prompting.steps, wanted.seed, prompting.device
    )
    if prompting.captioner is not None and not prompting.prompts.exists():
        samples = photos()
        if not samples:
            raise UsageError("--captioner describes labelled photographs; name them with --photos NAME:PATH")
        lines = list(captions(samples, prompting.captioner, prompting.device))
        with replacing(prompting.prompts, overwrite=False) as fresh:
            fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        notify(f"{prompting.prompts}: {len(lines)} prompts")
    prompts = read_prompts(prompting.prompts)
    if prompting.model is not None:
        make_folder(wanted.out)
        for path in generate(options, prompts, notify):
            typer.echo(path)
    return 0


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from error
