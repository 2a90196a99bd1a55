"""`gigacount train`."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from gigacount.cli.options import Quiet, spread
from gigacount.cli.show import duration, say
from gigacount.options import TrainOptions


def list_recipes(name: str | None) -> str | None:
    """For `--recipe list`: print every recipe with a line of what it is, and stop."""
    if name != "list":
        return name
    from gigacount.train.recipes import RECIPES

    for recipe, published in RECIPES.items():
        typer.echo(f"{recipe}\t{published.about}")
    raise typer.Exit()


@partial(spread, recipe=list_recipes)
def train(*, options: TrainOptions, quiet: Quiet = False) -> int:
    """Train a network on labelled images and write its weights and record.

    Prints the path of the record, which `gigacount count --network` takes. Under torchrun all processes train together.

    Examples:

      gigacount train --data csv:photos -o run
      gigacount train --recipe list
      gigacount train --data csv:photos@2 --data shanghaitech-a:SHA -o run --recipe csrnet
      gigacount train --data csv:photos -o run --init light --epochs 20 --resume
    """
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
