"""`gigacount train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gigacount.cli.show import say
from gigacount.options import TrainOptions

DEFAULTS = TrainOptions("light", ("-",), Path())


def train(
    data: Annotated[list[str], typer.Option(help="NAME:PATH or NAME:PATH@WEIGHT; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log, weights and record.")],
    network: Annotated[str, typer.Option(help="A network of `gigacount networks`.")] = DEFAULTS.network,
    split: Annotated[str, typer.Option(help="Split of the data sets to train on.")] = DEFAULTS.split,
    steps: Annotated[int, typer.Option(help="Steps to train.")] = DEFAULTS.steps,
    minutes: Annotated[float | None, typer.Option(help="Train for so long instead.")] = DEFAULTS.minutes,
    init: Annotated[str | None, typer.Option(help="Start from these weights: a name or a record.")] = DEFAULTS.init,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Weights of a classification network for the encoder.")
    ] = DEFAULTS.backbone_weights,
    validation: Annotated[float, typer.Option(help="Share of each data set held out.")] = DEFAULTS.validation,
    held_out: Annotated[
        Path | None, typer.Option(help="Hold out the pictures of this validation.txt instead.")
    ] = DEFAULTS.held_out,
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = DEFAULTS.validate_every,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = DEFAULTS.save_every,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0 for none.")] = DEFAULTS.ema,
    batch: Annotated[int | None, typer.Option(help="Crops a step; default: the network's recipe.")] = DEFAULTS.batch,
    lr: Annotated[float | None, typer.Option(help="Learning rate; default: the network's recipe.")] = DEFAULTS.lr,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = DEFAULTS.device,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = DEFAULTS.precision,
    seed: Annotated[int, typer.Option(help="Of the held-out split, the crops and the fresh weights.")] = DEFAULTS.seed,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Train a network on labelled pictures and write its weights and record.

    Prints the path of the record, which `gigacount count --network` takes.
    """
    options = TrainOptions(
        network=network,
        data=tuple(data),
        out=out,
        split=split,
        steps=steps,
        minutes=minutes,
        init=init,
        backbone_weights=backbone_weights,
        validation=validation,
        held_out=held_out,
        validate_every=validate_every,
        save_every=save_every,
        ema=ema,
        batch=batch,
        lr=lr,
        device=device,
        precision=precision,
        seed=seed,
        resume=resume,
    )
    from gigacount.train import train as run

    typer.echo(run(options, (lambda entry: None) if quiet else lambda entry: say(line(entry))))
    return 0


def line(entry: dict[str, Any]) -> str:
    """A log entry in words: `step 500  loss 1.234` or `step 500  shanghaitech-a MAE 80.1 RMSE 120.3`."""
    parts = [f"step {entry['step']}"]
    if "loss" in entry:
        parts.append(f"loss {entry['loss']:.4f}  {entry['seconds']:.0f} s")
    parts += [f"{n} MAE {e['mae']:.1f} RMSE {e['rmse']:.1f}" for n, e in entry.items() if isinstance(e, dict)]
    return "  ".join(parts)
