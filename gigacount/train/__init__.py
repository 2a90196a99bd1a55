"""Training: labelled images in, `<network>.safetensors` and its record out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import torch

from gigacount.datasets.listed import names_apart
from gigacount.errors import ExistsError, OutputError
from gigacount.networks import build, find_record
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import TrainOptions
from gigacount.train.checkpoint import explained
from gigacount.train.hints import shared_layers
from gigacount.train.log import FILE, Report
from gigacount.train.loop import Trainer
from gigacount.train.processes import team
from gigacount.train.pseudo_labels import mixed_source
from gigacount.train.recipes import settings_of
from gigacount.train.sources import Notify, TrainingSet, decoded_once, open_sources
from gigacount.train.validate import Errors

__all__ = ["TrainOptions", "train"]


def train(
    options: TrainOptions, report: Report = lambda entry: None, notify: Notify = lambda line: None
) -> Path | None:
    """Train as told and return the path of the record; its weights stand beside it.

    report: gets each log entry. notify: gets a line about the data, and what is trained. Under torchrun all processes
    but the first are silent and return None. Raises DataError for data that cannot be used, before training starts;
    OutputError where something cannot be written, and what was saved stays.
    """
    with team(options.device) as ours:
        tell = notify if ours.first else lambda line: None
        check_names(options)
        if ours.first:
            prepare_folder(options.out, options.resume)
        ours.wait()
        sources = open_sources(options, tell)
        trained_on = sources if options.mix is None else [*sources, mixed_source(options, sources, ours, tell)]
        with decoded_once([picture for one in trained_on for picture in one.train + one.held_out], tell):
            trainer = Trainer(options, trained_on, ours, report)
            tell(f"{options.network} by the recipe {trainer.recipe_name}, {length(trainer)}")
            if ours.first:
                with explained(options.out):
                    write_held_out(options.out / "validation.txt", sources)
            network, errors = trainer.run()
        if not ours.first:
            return None
        if left := trainer.network.stages[trainer.position.stage + 1 :]:
            tell(f"the time ran out before these stages began: {', '.join(left)}; --resume with more --minutes")
        with explained(options.out):
            return write_result(trainer, network, errors)


INHERITED = ("head_px", "enlarge", "min_score")
"""What a record keeps of the one that training started from, until `networks calibrate` settles it anew. Not the
divisor: training is for people as they are."""


def check_names(options: TrainOptions) -> None:
    """Refuse, by UsageError, wrong names and settings before anything is made or read."""
    network = build(options.network, **settings_of(options))
    if options.hints_from is not None:
        teacher = find_record(options.hints_from)
        shared_layers(network, build(teacher.network, **teacher.settings))


def length(trainer: Trainer) -> str:
    minutes, batch = trainer.options.minutes, trainer.recipe.batch * trainer.team.world
    parts = [f"{trainer.steps} steps"] if trainer.steps else []
    parts += [f"{minutes:g} minutes"] if minutes else []
    return f"{' or '.join(parts)} of {batch} crops"


def prepare_folder(out: Path, resume: bool) -> None:
    if not resume and (out / FILE).exists():
        raise ExistsError(f"{out} holds a training already; go on with --resume, or use another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from error


def write_held_out(path: Path, sources: list[TrainingSet]) -> None:
    lines: list[str] = []
    for set_name in dict.fromkeys(source.name for source in sources):
        of_set = [source for source in sources if source.name == set_name]
        names = names_apart([picture.sample.image for source in of_set for picture in source.train + source.held_out])
        lines += [f"{set_name}\t{names[picture.sample.image]}\n" for source in of_set for picture in source.held_out]
    path.write_text("".join(lines), encoding="utf-8")


def write_result(trainer: Trainer, network: Network, errors: list[Errors]) -> Path:
    options = trainer.options
    weights = options.out / f"{options.network}.safetensors"
    save_weights(network, weights)
    record = options.out / f"{options.network}.toml"
    write_record(describe_run(trainer, weights, errors), record)
    return record


def describe_run(trainer: Trainer, weights: Path, errors: list[Errors]) -> NetworkRecord:
    options, recipe, position = trainer.options, trainer.recipe, trainer.position
    today = date.today().isoformat()
    cuda = trainer.team.device.type == "cuda"
    hardware = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    mix, seconds = options.mix, position.seconds
    optional = {
        "init": options.init,
        "hints_from": options.hints_from,
        "crop": options.crop and list(options.crop),
        "mix": mix and mix.folder,
        "mix_ratio": mix and mix.ratio,
        "pseudo_labels_from": mix and list(mix.teachers),
    }
    start = trainer.start
    inherited = {} if start is None else {name: getattr(start, name) for name in INHERITED}
    return NetworkRecord(
        name=options.network,
        network=options.network,
        **inherited,
        weights=weights.name,
        sha256=hash_file(weights),
        mean=recipe.mean,
        std=recipe.std,
        stride=trainer.network.stride,
        settings=trainer.settings,
        training={
            "data": [text.split(":")[0] for text in options.sets],
            **{name: value for name, value in optional.items() if value},
            "recipe": trainer.recipe_name,
            "seed": options.seed,
            "steps": position.best_step or position.step,
            "batch": recipe.batch * trainer.team.world,
            "hours": round(seconds / 3600, 2),
            "hardware": f"{trainer.team.world} x {hardware}" if trainer.team.world > 1 else hardware,
            "date": today,
        },
        errors=[
            {**error.row(), **({} if error.f1 is None else {"f1": round(error.f1, 3)}), "date": today}
            for error in errors
        ],
    )
