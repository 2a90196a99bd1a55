"""`gigacount train`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.show import duration, say
from gigacount.options import LabelOptions, MixOptions, TrainOptions

DEFAULTS = TrainOptions("light", ("-",), Path())


def list_recipes(name: str | None) -> str | None:
    """For `--recipe list`: print every recipe with a line of what it is, and stop."""
    if name != "list":
        return name
    from gigacount.train.recipes import RECIPES

    for recipe, published in RECIPES.items():
        typer.echo(f"{recipe}\t{published.about}")
    raise typer.Exit()


@dataclass(frozen=True)
class Training:
    """What decides a training: the fields of TrainOptions, those of the generated pictures one by one."""

    data: Annotated[list[str], typer.Option(help="NAME:PATH or NAME:PATH@WEIGHT; may be given several times.")]
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log, weights and record.")]
    from_above: Annotated[
        list[str] | None, typer.Option(help="The same for pictures taken straight down, which are turned by any angle.")
    ] = None
    network: Annotated[str, typer.Option(help="A network of `gigacount networks`.")] = DEFAULTS.network
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the network; may be given several times."),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A named recipe, `list` to see them; default: the network's own.", callback=list_recipes, is_eager=True
        ),
    ] = DEFAULTS.recipe
    split: Annotated[str, typer.Option(help="Split of the data sets to train on.")] = DEFAULTS.split
    epochs: Annotated[int | None, typer.Option(help="Times through the data; default: the recipe's.")] = DEFAULTS.epochs
    steps: Annotated[int | None, typer.Option(help="Steps to train instead of epochs.")] = DEFAULTS.steps
    minutes: Annotated[
        float | None, typer.Option(help="Train for so long, or until the epochs or steps given are done.")
    ] = DEFAULTS.minutes
    init: Annotated[str | None, typer.Option(help="Start from these weights: a name or a record.")] = DEFAULTS.init
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Weights of a classification network for the encoder.")
    ] = DEFAULTS.backbone_weights
    hints_from: Annotated[
        str | None,
        typer.Option(help="A trained network whose features to learn beside the counts: a name or a record."),
    ] = DEFAULTS.hints_from
    mix: Annotated[
        str | None, typer.Option(help="Folder of generated pictures to mix in (PromptMix), or NAME:PATH.")
    ] = None
    mix_ratio: Annotated[float, typer.Option(help="Share of the crops that is cut from them.")] = MixOptions("-").ratio
    pseudo_labels_from: Annotated[
        list[str] | None,
        typer.Option(help="A network whose heads are their labels, instead of a CSV file; may be given several times."),
    ] = None
    mix_agree: Annotated[
        float,
        typer.Option(help="Leave out pictures in which these counts differ by more than this share of their mean."),
    ] = MixOptions("-").agree
    validation: Annotated[float, typer.Option(help="Share of each data set held out.")] = DEFAULTS.validation
    held_out: Annotated[Path | None, typer.Option(help="Hold out the pictures of this validation.txt instead.")] = (
        DEFAULTS.held_out
    )
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be used.")] = False
    validate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between validations; default: 500, or an epoch where the rate falls when they are stuck."
        ),
    ] = DEFAULTS.validate_every
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = DEFAULTS.save_every
    ema: Annotated[
        float | None, typer.Option(help="Decay of the averaged weights, 0 for none; default: the recipe's.")
    ] = DEFAULTS.ema
    batch: Annotated[int | None, typer.Option(help="Crops a step; default: the recipe's.")] = DEFAULTS.batch
    lr: Annotated[float | None, typer.Option(help="Learning rate; default: the recipe's.")] = DEFAULTS.lr
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = DEFAULTS.device
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = DEFAULTS.precision
    workers: Annotated[
        int | None, typer.Option(help="Threads that make crops; default: 1 on a CPU, up to 8 for a GPU.")
    ] = DEFAULTS.workers
    seed: Annotated[int, typer.Option(help="Of the held-out split, the crops and the fresh weights.")] = DEFAULTS.seed
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Compile the network first: minutes, for faster steps after them on a GPU."),
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False

    def options(self, labels: LabelOptions) -> TrainOptions:
        """Raises UsageError for values that make no sense."""
        if self.mix is None and self.pseudo_labels_from:
            raise typer.BadParameter("--pseudo-labels-from labels the pictures of --mix, which is missing")
        teachers = tuple(self.pseudo_labels_from or ())
        mix = None if self.mix is None else MixOptions(self.mix, self.mix_ratio, teachers, self.mix_agree)
        several = {name: tuple(getattr(self, name) or ()) for name in ("data", "from_above", "settings")}
        others = several | {"mix": mix, "labels": labels}
        names = [field.name for field in fields(TrainOptions) if field.name not in others]
        return TrainOptions(**others | {name: getattr(self, name) for name in names})


@spread
def train(
    *,
    training: Training,
    labelling: shared.Labelling,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Train a network on labelled pictures and write its weights and record.

    Prints the path of the record, which `gigacount count --network` takes. Under torchrun all processes train together.
    """
    options = training.options(labelling.options())
    from gigacount.train import train as run

    record = run(options, (lambda entry: None) if quiet else lambda entry: say(line(entry)), say)
    if record is not None:
        typer.echo(record)
    return 0


def line(entry: dict[str, Any]) -> str:
    """A log entry in words.

    step 500  loss 1.2340  6 min, 58 min left  1.39 steps/s, 2% waiting for data
    step 500  shanghaitech-a MAE 80.1 RMSE 120.3 F1 0.612
    """
    parts = [f"step {entry['step']}"]
    if "loss" in entry:
        parts += [f"loss {entry['loss']:.4f}", f"{duration(entry['seconds'])}, {duration(entry['left'])} left"]
        parts += [f"{entry['steps_per_second']:.2f} steps/s, {entry['waiting']:.0%} waiting for data"]
    if "stage" in entry:
        parts += [entry["stage"], f"validation loss {entry['score']:.4f}"]
    for name, errors in entry.items():
        if isinstance(errors, dict):
            f1 = "" if errors["f1"] is None else f" F1 {errors['f1']:.3f}"
            parts.append(f"{name} MAE {errors['mae']:.1f} RMSE {errors['rmse']:.1f}{f1}")
    return "  ".join(parts)
