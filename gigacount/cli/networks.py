"""`gigacount networks ...` and `gigacount train`: what networks there are, and new ones."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigacount.cli.options import App, AsJson, NetworkArgument, Quiet, spread
from gigacount.cli.show import duration, say
from gigacount.geometry import Size
from gigacount.options import CalibrateOptions, LabelOptions, TrainOptions
from gigacount.options.option import option, parse_size
from gigacount.options.research import SEVERAL, Split

if TYPE_CHECKING:
    from gigacount.networks.record import NetworkRecord


ERRORS = {
    "kind": "kind",
    "pictures": "images",
    "people": "people",
    "MAE": "mae",
    "relative": "relative",
    "bias": "bias",
    "F1 (8 px)": "f1_8px",
    "measured": "date",
}
"""Columns of the table of errors: title, and what a record calls it."""

networks = App(invoke_without_command=True)


@networks.callback()
def list_networks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per network.")] = False,
) -> None:
    """List the networks: which have weights here, and what error was measured with them."""
    if context.invoked_subcommand is not None:
        return
    from gigacount.networks import NETWORKS, records
    from gigacount.options import CountOptions
    from gigacount.output.tables import aligned

    default_name = CountOptions().network
    shipped = records()
    rows: list[tuple[str, str, NetworkRecord | None]]
    rows = [(name, record.network, record) for name, record in shipped.items()]
    rows += [(name, name, None) for name in NETWORKS if name not in {record.network for record in shipped.values()}]
    for name, network, record in sorted(rows, key=lambda row: (row[0] != default_name, row[2] is None, row[0])):
        errors = record.errors if record else []
        if as_json:
            weights, cost = (str(record.weights_path), record.cost) if record else (None, {})
            entry = {"name": name, "network": network, "weights": weights, **cost, "errors": errors}
            typer.echo(json.dumps(entry, ensure_ascii=False, default=str))
            continue
        default = " (default)" if name == default_name else ""
        typer.echo(f"{name}{default}\t{record.weights if record else 'no weights here'}")
        if record and record.about:
            typer.echo(f"\t{record.about}")
        if errors:
            columns = {
                title: ["" if error.get(key) is None else str(error[key]) for error in errors]
                for title, key in ERRORS.items()
            }
            for line in aligned(columns).splitlines():
                typer.echo(f"\t{line}")


@networks.command()
@spread
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights as published: .pth, .pt, ...")],
    network: str | None = option(None, "Whose weights they are. Default: told by their tensors."),
    out: Path | None = option(None, "Folder for weights and record. Default: that of FILE.", "-o", "FOLDER"),
    overwrite: bool = option(False, "Replace existing files."),
) -> int:
    """Make safetensors and a record of weights that others published.

    Only tensors are read from a pickle; nothing in it is run. Prints the path of the record, which
    `gigacount count --network` takes; add to it what you know of the weights.

    Examples:

      gigacount networks convert SHA.pth --network csrnet -o networks
    """
    from gigacount.atomic import explained, require_free
    from gigacount.errors import UnknownNameError
    from gigacount.networks import NETWORKS
    from gigacount.networks.convert import read_published, write_converted

    if network is not None and network not in NETWORKS:
        raise UnknownNameError("network", network, NETWORKS)
    name, made = read_published(file, network)
    record = (out or file.parent) / f"{name}.toml"
    for path in (record, record.with_suffix(".safetensors")):
        require_free(path, overwrite)
    with explained(record):
        write_converted(made, record, file.name)
    typer.echo(record)
    return 0


@networks.command()
@spread
def export(
    *,
    network: NetworkArgument,
    backend: str = option("openvino", "openvino, or onnx for other programs."),
    precision: str = option("fp32", "fp32, which also runs in bf16; int8 besides, with --calibrate."),
    calibrate: tuple[str, ...] = option((), f"A data set whose images settle int8. {SEVERAL}", metavar="NAME:PATH"),
    split: Split = "train",
    out: Path | None = option(None, "Folder for the result. Default: that of the weights.", "-o", "FOLDER"),
    labels: LabelOptions,
) -> int:
    """Write a network's whole prediction as a graph that counts without PyTorch.

    For int8, give images of all kinds that are to be counted; they are seen at several scales, and their labels do not
    matter. Prints the path of the record, which names the graphs, or of the ONNX file.

    Examples:

      gigacount networks export run/light.toml
      gigacount networks export run/light.toml --precision int8 --calibrate csv:photos
    """
    from gigacount.atomic import explained
    from gigacount.evaluate.calibrate import images_at_all_scales
    from gigacount.networks import find_record
    from gigacount.networks.export import export_network

    record = find_record(network)
    folder = out or record.folder
    with explained(folder):
        images = images_at_all_scales(calibrate, split, labels, say)
        typer.echo(export_network(record, backend, precision, folder, images))
    return 0


@networks.command()
@spread
def profile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network of the table, shipped weights, or a record.")],
    size: Size = option(
        (
            1280,
            720,
        ),
        "Size of the image, in pixels.",
        metavar="WIDTHxHEIGHT",
        parse=parse_size,
    ),
    settings: tuple[str, ...] = option((), f"A setting of the network. {SEVERAL}", "--set", "NAME=VALUE"),
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps."),
    precision: str = option("auto", "auto, bf16, fp16 or fp32."),
    as_json: AsJson = False,
) -> int:
    """Measure what a look by a network costs: parameters, multiply-accumulates, time per megapixel, peak memory.

    Networks without weights here are measured with random parameters, on which none of this depends. Runs on PyTorch.

    Examples:

      gigacount networks profile light --size 2560x1440
    """
    from gigacount.networks import NETWORKS, build, find_record
    from gigacount.networks.profile import profile as measure
    from gigacount.networks.settings import read_settings

    own = {} if name in NETWORKS else find_record(name).settings
    network = name if name in NETWORKS else find_record(name).network
    made = build(network, **own | read_settings(network, settings, own))
    found = measure(name, made, size, device, precision).as_dict()
    if as_json:
        typer.echo(json.dumps(found))
        return 0
    for key, value in found.items():
        text = f"{value:,}" if isinstance(value, int) else "x".join(map(str, value)) if key == "size_wh" else value
        typer.echo(f"{key.replace('_', ' ')}\t{text}")
    return 0


@networks.command()
@spread
def calibrate(
    *,
    network: NetworkArgument,
    options: CalibrateOptions,
    out: Path | None = option(None, "Folder for the weights and the new record. Default: theirs.", "-o", "FOLDER"),
) -> int:
    """Settle a network's divisor, score and fusion thresholds, and its errors, on labelled images like yours.

    Give images that the network was not trained on. Prints the path of the record.

    Examples:

      gigacount networks calibrate run/light.toml --data csv:photos --held-out run/validation.txt
    """
    from gigacount.atomic import explained
    from gigacount.evaluate.calibrate import calibrate as run
    from gigacount.evaluate.calibrate import write_calibrated
    from gigacount.networks import find_record

    folder = out or find_record(network).folder
    record = run(network, options, say)
    with explained(folder):
        typer.echo(write_calibrated(record, folder))
    return 0


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
