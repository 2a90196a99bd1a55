"""`gigacount networks`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gigacount.networks.record import NetworkRecord


def networks(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a network.")] = False) -> int:
    """List the networks: which have weights here, and what error was measured with them."""
    from gigacount.networks import NETWORKS, records
    from gigacount.options import CountOptions

    default_name = CountOptions().network
    shipped = records()
    rows: list[tuple[str, str, NetworkRecord | None]]
    rows = [(name, record.network, record) for name, record in shipped.items()]
    rows += [(name, name, None) for name in NETWORKS if name not in {record.network for record in shipped.values()}]
    for name, network, record in sorted(rows, key=lambda row: (row[0] != default_name, row[2] is None, row[0])):
        errors = record.errors if record else []
        if as_json:
            weights = str(record.weights_path) if record else None
            entry = {"name": name, "network": network, "weights": weights, "errors": errors}
            typer.echo(json.dumps(entry, ensure_ascii=False, default=str))
            continue
        weights = record.weights if record else "no weights here"
        default = " (default)" if name == default_name else ""
        typer.echo(f"{name}{default}\t{weights}")
        for error in errors:
            figures = ", ".join(f"{key} {value}" for key, value in error.items() if key not in ("data", "date"))
            typer.echo(f"\t{error.get('data', '?')}: {figures} ({error.get('date', 'no date')})")
    return 0
