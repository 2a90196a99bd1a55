"""The training loop: one step after another, validated, logged, and resumable at any of them."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn

from gigacount.errors import DataError, OutputError
from gigacount.networks import build, find_record
from gigacount.networks.base import Network, Recipe
from gigacount.networks.weights import load_weights
from gigacount.options import TrainOptions
from gigacount.predict import channels_last, choose_device, choose_dtype
from gigacount.train.backbone import load_backbone_file
from gigacount.train.checkpoint import Position, load_checkpoint, save_checkpoint
from gigacount.train.crops import CropMaker
from gigacount.train.sources import Source
from gigacount.train.validate import Errors, validate

WARM_UP = 200  # steps over which the learning rate rises to its full height
FREEZE = 0.7
"""Share of a run after which batch norm keeps its statistics. Crops of one batch come from unlike data sets; counts in
inference, by running statistics, stayed 14 % below those by the batch's own until training, too, used the former.
A run that starts from trained weights (`--init`) keeps their statistics throughout."""
AHEAD = 3  # batches made while the network works on the present one

Report = Callable[[dict[str, Any]], None]
"""Called with one log entry: loss every 50 steps, validation errors when they were measured."""


class LossModule(nn.Module):
    """A network as a module whose forward is its loss, so that DistributedDataParallel can wrap it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return self.network.loss(images, targets)


@dataclass
class Trainer:
    """One training run. `run()` returns the averaged network with the lowest validation error and its errors."""

    options: TrainOptions
    sources: list[Source]
    report: Report

    def __post_init__(self) -> None:
        options = self.options
        torch.manual_seed(options.seed)
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = choose_device(local_device(options.device))
        self.dtype = choose_dtype(options.precision, self.device)
        network = build(options.network)
        self.recipe = adapted(network.recipe, options)
        if options.init is not None:
            load_weights(network, find_record(options.init))
        if options.backbone_weights is not None:
            load_backbone_file(network, options.backbone_weights)
        self.network = channels_last(network.to(self.device))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = make_optimiser(self.network, self.recipe)
        self.position = Position()
        self.best: dict[str, Tensor] = {}
        self.module: nn.Module = LossModule(self.network)
        if self.world > 1:
            torch.distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            self.module = nn.parallel.DistributedDataParallel(self.module)
        if options.resume:
            self._restore(load_checkpoint(options.out))

    def run(self) -> tuple[Network, list[Errors]]:
        options, start = self.options, time.monotonic() - self.position.seconds
        crops = CropMaker(self.sources, self.network, self.recipe, options.seed)
        batches = ahead(lambda step: crops.batch(step, self.rank), range(self.position.step, options.steps))
        recent: list[float] = []
        for step in range(self.position.step, options.steps):
            images, targets = batches.get()
            loss = self._step(images, targets, self._progress())
            recent.append(loss)
            if not math.isfinite(loss):
                raise DataError(
                    f"step {step + 1}: the loss is {loss}; the last checkpoint in {options.out} is intact, "
                    "go on from it with --resume and a lower --lr"
                )
            self.position = replace(self.position, step=step + 1, seconds=time.monotonic() - start)
            last = step + 1 == options.steps or self._progress() >= 1
            if (step + 1) % 50 == 0 or last:
                self._log({"step": step + 1, "loss": sum(recent) / len(recent), "seconds": self.position.seconds})
                recent.clear()
            if (step + 1) % options.validate_every == 0 or last:
                self._validate()
            if (step + 1) % options.save_every == 0 or last:
                self._save()
            if last:
                break
        if self.best:
            self.average.load_state_dict(self.best)
        return self.average, validate(self.average, self.sources, self.recipe, self.dtype)

    def _progress(self) -> float:
        """Share of the run that is done, 0 to 1, by steps or by time."""
        by_steps = self.position.step / self.options.steps
        minutes = self.options.minutes
        return by_steps if minutes is None else min(max(by_steps, self.position.seconds / 60 / minutes), 1.0)

    def _step(self, images: Tensor, targets: dict[str, Tensor], progress: float) -> float:
        rise = min((self.position.step + 1) / WARM_UP, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * rise * schedule(self.recipe, progress)
        self.module.train()
        if progress >= FREEZE or self.options.init is not None:
            for module in self.module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        images = images.to(self.device, non_blocking=True)
        targets = {name: target.to(self.device, non_blocking=True) for name, target in targets.items()}
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            loss: Tensor = self.module(images, targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of weights and batch norm statistics, short at first."""
        decay = min(self.options.ema, (self.position.step + 1) / (self.position.step + 20)) if self.options.ema else 0.0
        for mean, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(new)

    def _validate(self) -> None:
        """Keep the averaged weights when their mean relative error over the sets is the lowest so far."""
        errors = validate(self.average, self.sources, self.recipe, self.dtype)
        if not errors:
            return
        score = sum(error.score for error in errors) / len(errors)
        self._log({"step": self.position.step, "score": score, **{error.name: asdict(error) for error in errors}})
        if score < self.position.best_error:
            self.position = replace(self.position, best_error=score, best_step=self.position.step)
            self.best = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}

    def _save(self) -> None:
        if self.rank:
            return
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "position": asdict(self.position),
            "data": list(self.options.data),
            "name": self.options.network,
        }
        save_checkpoint(self.options.out, state)

    def _restore(self, state: dict[str, Any]) -> None:
        for name, ours in (("name", self.options.network), ("data", list(self.options.data))):
            if state[name] != ours:
                raise DataError(
                    f"{self.options.out}: this checkpoint was trained with {name} {state[name]}, not {ours}"
                )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.best = state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self.position = Position(**state["position"])

    def _log(self, entry: dict[str, Any]) -> None:
        if self.rank:
            return
        try:
            with (self.options.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"{self.options.out}: cannot write the log: {error.strerror}") from error
        self.report(entry)


def adapted(recipe: Recipe, options: TrainOptions) -> Recipe:
    """The recipe with the run's own batch size and learning rate."""
    ratio = options.lr / recipe.lr if options.lr else 1.0
    backbone = recipe.backbone_lr * ratio if recipe.backbone_lr else None
    return replace(recipe, batch=options.batch or recipe.batch, lr=recipe.lr * ratio, backbone_lr=backbone)


def make_optimiser(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    encoder = {name for name, _ in network.named_parameters() if name.startswith("encoder.")}
    named = dict(network.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in named.items() if n in encoder], "lr": recipe.backbone_lr or recipe.lr},
        {"params": [p for n, p in named.items() if n not in encoder], "lr": recipe.lr},
    ]
    groups = [{**group, "initial_lr": group["lr"]} for group in groups if group["params"]]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=recipe.weight_decay)


def schedule(recipe: Recipe, progress: float) -> float:
    """Factor of the learning rate when `progress` (0 to 1) of the run is done."""
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if recipe.schedule == "polynomial":
        return float((1 - progress) ** recipe.decay)
    if recipe.schedule == "exponential":
        return float(recipe.decay ** (progress * recipe.epochs))
    return 1.0


def ahead(make: Callable[[int], Any], steps: range) -> Queue[Any]:
    """Make the batches of `steps` in a thread, a few ahead; an error there is raised by the next `get`."""
    queue: Queue[Any] = RaisingQueue(AHEAD)

    def work() -> None:
        for step in steps:
            try:
                queue.put(make(step))
            except BaseException as error:  # whatever it is belongs to the thread that waits
                queue.put(error)
                return

    Thread(target=work, daemon=True, name="crops").start()
    return queue


class RaisingQueue(Queue[Any]):
    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        item = super().get(block, timeout)
        if isinstance(item, BaseException):
            raise item
        return item


def local_device(name: str) -> str:
    """Under torchrun on GPUs each process takes its own."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and name in ("auto", "cuda") and torch.cuda.is_available() else name


def prepare_folder(out: Path, resume: bool) -> None:
    """Raises OutputError where an earlier run stands and is not resumed, or nothing can be written."""
    if not resume and (out / "log.jsonl").exists():
        raise OutputError(f"{out} holds a training already; go on with --resume, or use another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make the folder: {error.strerror}") from error
