"""The networks: one table, one `load`.

Importing this package does not import torch; `load` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gigacount.errors import UnknownNameError, UsageError, WeightsError
from gigacount.networks.record import NetworkRecord, read_record, refuse_pickle

if TYPE_CHECKING:
    from gigacount.networks.base import Network

NETWORKS: dict[str, str] = {
    "light": "gigacount.networks.light:Light",
    "csrnet": "gigacount.networks.csrnet:CSRNet",
    "mcnn": "gigacount.networks.mcnn:MCNN",
    "sasnet": "gigacount.networks.sasnet:SASNet",
    "deepcount": "gigacount.networks.deepcount:DeepCount",
    "raz-net": "gigacount.networks.raznet:RazNet",
    "iim-hrnet": "gigacount.networks.iim:IIMHRNet",
    "iim-vgg": "gigacount.networks.iim:IIMVGG",
    "vgg-fpn": "gigacount.networks.pyramid:VGGPyramid",
    "mud-iknn": "gigacount.networks.mudiknn:MudIknn",
}
"""Network name -> "module:class"; the class without arguments is the network as published."""

HELPERS = {"head-sizes": "gigacount.networks.head_sizes:HeadSizes"}
"""Networks that are trained as the others, but count nobody."""

MAX_PARAMETERS = 250_000_000
"""Of a network with settings of its own: nearly four times the largest as published, a gigabyte."""


def models_folder() -> Path:
    """The shipped weights: inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).parent.parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def records() -> dict[str, NetworkRecord]:
    """The records of all shipped weights by name."""
    found = (read_record(path) for path in sorted(models_folder().glob("*.toml")))
    return {record.name: record for record in found}


def find_record(name: str) -> NetworkRecord:
    """The record of shipped weights `name`, or of a user's own: the path of its `.toml` or `.safetensors`.

    Raises UnknownNameError, WeightsError for a network without weights here.
    """
    path = Path(name)
    refuse_pickle(path)
    if path.suffix in (".toml", ".safetensors") or len(path.parts) > 1:
        return read_record(path.with_suffix(".toml"))
    shipped = records()
    if name in shipped:
        return shipped[name]
    if name in NETWORKS:
        raise WeightsError(
            f"network '{name}' has no weights in {models_folder()}; train it (gigacount train --network {name} ...) "
            f"and give the path of the result, or choose one of: {', '.join(shipped)}"
        )
    raise UnknownNameError("network", name, sorted({*NETWORKS, *shipped}))


def find_class(network: str, settings: Iterable[str] = ()) -> type[Network]:
    """The class of a network of the tables, which has these settings. Raises UnknownNameError, UsageError."""
    known_networks = NETWORKS | HELPERS
    if network not in known_networks:
        raise UnknownNameError("network", network, NETWORKS)
    import importlib
    import inspect

    module, name = known_networks[network].split(":")
    kind: type[Network] = getattr(importlib.import_module(module), name)
    known = list(inspect.signature(kind).parameters)
    for setting in settings:
        if setting not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"network '{network}' has no setting '{setting:.60}'; {has}")
    return kind


def build(network: str, **settings: object) -> Network:
    """A network of the tables with fresh parameters. Raises UsageError for settings that would make it too large."""
    import torch

    kind = find_class(network, settings)
    if settings:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())[:200]
        try:
            with torch.device("meta"):
                parameters = sum(parameter.numel() for parameter in kind(**settings).parameters())
        except (TypeError, OverflowError, RuntimeError) as error:  # sides past what torch can count
            raise UsageError(f"network '{network}' cannot be built with {given}") from error
        if parameters > MAX_PARAMETERS:
            raise UsageError(
                f"network '{network}' with {given} has {parameters:,} parameters; at most {MAX_PARAMETERS:,} are built"
            )
    return kind(**settings)


def load(record: NetworkRecord) -> Network:
    """Build the record's network and load its weights, hash-checked, ready for inference."""
    from gigacount.networks.weights import load_weights

    network = build(record.network, **record.settings)
    load_weights(network, record)
    return network.eval()
