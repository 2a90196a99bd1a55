"""Training: labelled pictures in, `<network>.safetensors` and its record out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import torch

from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import TrainOptions
from gigacount.train.loop import Report, Trainer, prepare_folder
from gigacount.train.sources import open_sources
from gigacount.train.validate import Errors

__all__ = ["TrainOptions", "train"]


def train(options: TrainOptions, report: Report = lambda entry: None) -> Path:
    """Train as told and return the path of the record; its weights stand beside it.

    The validation pictures of each set are chosen by the seed and named in `validation.txt`. Raises DataError for
    data that cannot be used, before training starts where possible; what was saved stays.
    """
    prepare_folder(options.out, options.resume)
    sources = open_sources(options)
    held = [f"{source.name}\t{picture.sample.image.name}" for source in sources for picture in source.held_out]
    (options.out / "validation.txt").write_text("\n".join(held) + "\n", encoding="utf-8")
    trainer = Trainer(options, sources, report)
    network, errors = trainer.run()
    weights = options.out / f"{options.network}.safetensors"
    save_weights(network, weights)
    record = options.out / f"{options.network}.toml"
    write_record(describe_run(trainer, weights, errors), record)
    return record


def describe_run(trainer: Trainer, weights: Path, errors: list[Errors]) -> NetworkRecord:
    options, recipe, position = trainer.options, trainer.recipe, trainer.position
    today = date.today().isoformat()
    hardware = (
        torch.cuda.get_device_name() if trainer.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    return NetworkRecord(
        name=options.network,
        network=options.network,
        weights=weights.name,
        sha256=hash_file(weights),
        mean=recipe.mean,
        std=recipe.std,
        stride=trainer.network.stride,
        training={
            "data": [text.split(":")[0] for text in options.data],
            "seed": options.seed,
            "steps": position.best_step or position.step,
            "batch": recipe.batch,
            "hours": round(position.seconds / 3600, 2),
            "hardware": hardware,
            "date": today,
        },
        errors=[
            {
                "data": f"{error.name}, {error.pictures} held-out pictures",
                "mae": round(error.mae, 2),
                "rmse": round(error.rmse, 2),
                "bias": round(error.bias, 2),
                "date": today,
            }
            for error in errors
        ],
    )
