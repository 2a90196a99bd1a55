"""`gigacount networks ...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread

if TYPE_CHECKING:
    from gigacount.networks.record import NetworkRecord


ERRORS = {
    "kind": "kind",
    "pictures": "pictures",
    "people": "people",
    "MAE": "mae",
    "relative": "relative",
    "bias": "bias",
    "F1 (8 px)": "f1_8px",
    "measured": "date",
}
"""Columns of the table of errors: title, and what a record calls it."""

networks = typer.Typer(invoke_without_command=True)


@networks.callback()
def list_networks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a network.")] = False,
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
            for line in aligned(
                {title: [figure(error.get(key)) for error in errors] for title, key in ERRORS.items()}
            ).splitlines():
                typer.echo(f"\t{line}")


def figure(value: object) -> str:
    return "" if value is None else str(value)


@networks.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights as published: .pth, .pt, ...")],
    network: Annotated[str | None, typer.Option(help="Whose they are; default: told by their tensors.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and record; default: that of FILE.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> int:
    """Make safetensors and a record of weights that others published.

    Only tensors are read from a pickle; nothing in it is run. Prints the path of the record, which
    `gigacount count --network` takes; add to it what you know of the weights.
    """
    from gigacount.errors import UnknownNameError
    from gigacount.networks import NETWORKS
    from gigacount.networks.published import read_published, write_converted
    from gigacount.output.files import explained, require_free

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
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Name of shipped weights, or a record's path.")],
    backend: Annotated[str, typer.Option(help="openvino, or onnx for other programs.")] = "openvino",
    precision: Annotated[
        str, typer.Option(help="fp32, which also runs in bf16; int8 besides, with --calibrate.")
    ] = "fp32",
    calibrate: Annotated[
        list[str] | None, typer.Option(help="NAME:PATH of pictures to settle int8 on; may be given several times.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data sets.")] = "train",
    out: Annotated[Path | None, typer.Option(help="Folder for the result; default: that of the weights.")] = None,
    labelling: shared.Labelling,
) -> int:
    """Write a network's whole prediction as a graph that counts without PyTorch.

    For int8, give pictures of all kinds that are to be counted; they are seen at several scales, and truth is not
    needed. Prints the path of the record, which names the graphs, or of the ONNX file.
    """
    from gigacount.cli.show import say
    from gigacount.networks import find_record
    from gigacount.networks.export import export_network
    from gigacount.output.files import explained
    from gigacount.train.calibrate import pictures_at_all_scales

    record = find_record(network)
    folder = out or record.folder
    with explained(folder):
        pictures = pictures_at_all_scales(calibrate or [], split, labelling.options(), say)
        typer.echo(export_network(record, backend, precision, folder, pictures))
    return 0


@networks.command()
def profile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network of the table, shipped weights, or a record.")],
    size: Annotated[str, typer.Option(help="Pixels of the look, WIDTHxHEIGHT.")] = "1280x720",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the network; may be given several times."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Measure what a look by a network costs: parameters, multiply-accumulates, time a megapixel, peak memory.

    Networks without weights here are measured with fresh parameters: neither figure hangs on them. PyTorch runs it.
    """
    from gigacount.cli.parse import parse_size
    from gigacount.networks import NETWORKS, build, find_record
    from gigacount.networks.profile import profile as measure
    from gigacount.networks.settings import read_settings

    own = {} if name in NETWORKS else find_record(name).settings
    network = name if name in NETWORKS else find_record(name).network
    made = build(network, **own | read_settings(network, settings or ()))
    found = measure(name, made, parse_size(size, "--size"), device, precision).as_dict()
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
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Name of shipped weights, or a record's path.")],
    data: Annotated[list[str], typer.Option(help="NAME:PATH or KIND=NAME:PATH; may be given several times.")],
    split: Annotated[str, typer.Option(help="Split of the data sets.")] = "train",
    held_out: Annotated[
        Path | None, typer.Option(help="Use only the pictures that this validation.txt of a training names.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the weights and the new record; default: theirs.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    labelling: shared.Labelling,
) -> int:
    """Settle a network's divisor, score and fusion thresholds, and its errors, on labelled pictures like yours.

    Give pictures that the network was not trained on. Prints the path of the record.
    """
    from gigacount.cli.show import say
    from gigacount.options import CalibrateOptions
    from gigacount.output.files import explained
    from gigacount.train.calibrate import calibrate as run
    from gigacount.train.calibrate import write_calibrated

    options = CalibrateOptions(network, tuple(data), split, held_out, device, labels=labelling.options())
    record = run(options, say)
    folder = out or record.folder
    with explained(folder):
        typer.echo(write_calibrated(record, folder))
    return 0
