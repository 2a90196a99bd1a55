"""The training loop: one step after another, stage after stage, validated, logged, and resumable at any of them."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gigacount.errors import DataError, UsageError
from gigacount.memory import keep_freed_memory
from gigacount.networks import build, find_record
from gigacount.networks.backends.torch import channels_last, choose_dtype
from gigacount.networks.base import Network
from gigacount.networks.convert import read_tensors
from gigacount.networks.weights import load_weights
from gigacount.options import TrainOptions
from gigacount.train.checkpoint import Position, load_checkpoint, require_same, save_checkpoint
from gigacount.train.crops import Batch, CropMaker
from gigacount.train.feed import ahead, default_workers
from gigacount.train.hints import Hints
from gigacount.train.log import Log, Pace, Report
from gigacount.train.processes import Team
from gigacount.train.rates import make_optimiser, schedule, warm_up
from gigacount.train.recipes import RECIPES, Recipe, adapted, recipe_name, settings_of
from gigacount.train.sources import TrainingSet
from gigacount.train.validate import Errors, labelled, mean_loss, mean_score, validate

LOG_EVERY = 50  # steps
VALIDATE_EVERY = 500  # steps
CHECKS = 16  # most batches of held-out crops that a stage is judged by


class LossModule(nn.Module):
    """A network as a module whose forward is its loss and its hints', so that DistributedDataParallel can wrap it."""

    def __init__(self, network: Network, hints: Hints | None = None) -> None:
        super().__init__()
        self.network, self.hints = network, hints

    def forward(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        loss = self.network.loss(images, targets)
        return loss if self.hints is None else loss + self.hints.loss(images)


@contextmanager
def compiling() -> Iterator[None]:
    """UsageError for what torch.compile raises, as where there is no C++ compiler."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise UsageError(f"--compile failed: {str(error).strip().splitlines()[0]}; train without it") from error


@dataclass
class Trainer:
    """One training run. `run()` returns the averaged network with the lowest validation error and its errors.

    A network with stages is trained in them one after the other, each for its share of the run. A stage is judged by
    its own loss on held-out crops, as counts say nothing of branches that they do not use yet, and hands on its best.
    """

    options: TrainOptions
    sources: list[TrainingSet]
    team: Team
    report: Report = lambda entry: None

    def __post_init__(self) -> None:
        options, team = self.options, self.team
        keep_freed_memory()
        torch.manual_seed(options.seed)
        chosen = choose_dtype(options.precision, team.device)
        self.dtype = torch.float32 if chosen == torch.float16 else chosen  # fp16 would need its losses scaled
        self.start = None if options.init is None else find_record(options.init)
        self.recipe_name = recipe_name(options)
        self.settings = settings_of(options, self.start)
        network = build(options.network, **self.settings)
        self.recipe = adapted(RECIPES[self.recipe_name].recipe, options, network, self.start)
        if self.start is not None:
            load_weights(network, self.start)
        if options.backbone_weights is not None:
            network.load_backbone(read_tensors(options.backbone_weights))
        for name, parameter in network.named_parameters():
            if name.startswith(self.recipe.fixed):
                parameter.requires_grad_(False)
        self.network = channels_last(network.to(team.device))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.teacher = None if options.hints_from is None else find_record(options.hints_from)
        self.hints = None if self.teacher is None else Hints(self.network, self.teacher, self.recipe, team.device)
        self.steps = self._length()
        self.position = Position()
        self.best: dict[str, Tensor] = {}
        self.recent: list[float] = []
        self.pace = Pace()
        saved = load_checkpoint(options.out) if options.resume else None
        if saved is not None:
            require_same(options.out, json.loads(saved.get("run", "{}")), self.identity())
            self.position = Position(**saved["position"])
        self._begin_stage()
        if saved is not None:
            self._restore(saved)
        self.log = Log(options.out, self.report, self.position.step if options.resume else None) if team.first else None

    def run(self) -> tuple[Network, list[Errors]]:
        began = time.monotonic() - self.position.seconds
        while self.progress < 1:
            with closing(self._feed()) as batches:
                while not self._advance(self.pace.waiting(batches), began):
                    pass
        if self.best:
            self.average.load_state_dict(self.best)
        if not self.team.first:
            return self.average, []
        self.average.calibrate(labelled(self.sources, self.recipe, self.team.device))
        return self.average, validate(self.average, self.sources, self.recipe, self.dtype)

    def _feed(self) -> Generator[Batch, None, None]:
        """The batches from the present step on, as the present stage wants them."""
        steps, workers = range(self.position.step, self.steps or sys.maxsize), self.options.workers
        maker = CropMaker(self.sources, self.average, self._stage_recipe(), self.options.seed)
        workers = default_workers(self.team.device) if workers is None else workers
        with closing(ahead(maker, steps, self.team.rank, workers)) as crops:
            for made in crops:
                yield maker.batch(made, self.team.device)

    def _advance(self, batch: Batch, began: float) -> bool:
        """One step, and what is due after it; whether the stage, or the whole run, is over."""
        self._step(batch)
        seconds = self.team.agree(time.monotonic() - began)
        step, stage_step = self.position.step + 1, self.position.stage_step + 1
        self.position = replace(self.position, step=step, stage_step=stage_step, seconds=seconds)
        over = self.stage_progress >= 1
        if step % LOG_EVERY == 0 or over:
            self._log_loss()
        if step % self.validate_every == 0 or over:
            self._judge()
        if over and self.progress < 1:
            self._next_stage()
        if step % self.options.save_every == 0 or over:
            self._save()
        return over

    def _stage_recipe(self) -> Recipe:
        """The recipe, for whole images where the stage learns from those."""
        return replace(self.recipe, crop_wh=None, batch=1) if self.network.whole_images else self.recipe

    @property
    def validate_every(self) -> int:
        """Steps between validations: an epoch where the learning rate waits for them, unless the user says."""
        if self.options.validate_every is not None:
            return self.options.validate_every
        return self._steps_of(self.recipe.crops) if self.recipe.schedule == "plateau" else VALIDATE_EVERY

    def _steps_of(self, crops: int) -> int:
        """Steps in which so many crops are taken of each training image."""
        pictures = sum(len(source.train) for source in self.sources)
        return math.ceil(crops * pictures / (self.recipe.batch * self.team.world))

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1, by steps or by time."""
        by_steps = self.position.step / self.steps if self.steps else 0.0
        minutes = self.options.minutes
        by_time = self.position.seconds / 60 / minutes if minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    @property
    def stage_progress(self) -> float:
        """Share of the present stage that is done, 0 to 1."""
        stages = max(len(self.network.stages), 1)
        return min(max(self.progress * stages - self.position.stage, 0.0), 1.0)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on to the result of an unbroken one.

        All but how long it is and the learning rate: to train longer, or more slowly after a loss that was no number,
        is a user's wish.
        """
        options = self.options
        pictures = {
            part: [f"{s.name}/{p.sample.image.name}" for s in self.sources for p in getattr(s, part)]
            for part in ("train", "held_out")
        }
        values = {
            "network": options.network,
            "settings": self.settings,
            "data": list(options.sets),
            "from above": list(options.from_above),
            "split": options.split,
            "mix": options.mix and asdict(options.mix),
            "recipe": self.recipe_name,
            "init": options.init,
            "hints": self.teacher and self.teacher.sha256,
            "seed": options.seed,
            "processes": self.team.world,
            "held-out pictures": pictures["held_out"],
            "training pictures": pictures["train"],
            **{name: value for name, value in asdict(self.recipe).items() if name not in ("lr", "backbone_lr")},
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    def _length(self) -> int | None:
        """Steps of the run; None where the clock alone ends it."""
        options, recipe, stages = self.options, self.recipe, len(self.network.stages)
        if options.steps is None and options.epochs is None and options.minutes is not None:
            return None
        steps = options.steps or self._steps_of(recipe.epochs * recipe.crops)
        if steps < stages:
            raise UsageError(f"{options.network} is trained in {stages} stages, which takes as many steps, not {steps}")
        return steps

    def _begin_stage(self) -> None:
        """An optimiser for what learns in the present stage."""
        stages = self.network.stages
        for network in (self.network, self.average) if stages else ():
            network.begin_stage(stages[self.position.stage])
        self.optimiser = make_optimiser(self.network, self.recipe, self.hints)
        module = LossModule(self.network, self.hints)
        if self.options.compile:
            module.compile()
        self.module = self.team.joined(module)

    def _next_stage(self) -> None:
        """Go on from the best that the last stage has found."""
        best = self.best or self.average.state_dict()
        for network in (self.network, self.average):
            network.load_state_dict(best)
        self.best = {}
        self.position = Position(self.position.step, self.position.seconds, self.position.stage + 1)
        self._begin_stage()

    def _step(self, batch: Batch) -> None:
        """One step of the optimiser. Raises DataError where the loss is no number."""
        position, recipe, device = self.position, self.recipe, self.team.device
        draws = np.random.SeedSequence((self.options.seed, position.step, self.team.rank))
        torch.manual_seed(int(draws.generate_state(1)[0]))
        factor = warm_up(recipe, position.stage_step) * schedule(recipe, self.stage_progress, position.drops)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.module.train()
        if self.stage_progress >= recipe.freeze or self.options.init is not None:
            for module in self.module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        images, targets = batch
        with compiling(), torch.autocast(device.type, self.dtype, self.dtype != torch.float32):
            loss: Tensor = self.module(images, targets)
        self.optimiser.zero_grad(set_to_none=True)
        with compiling():
            loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimiser.step()
        self._update_average()
        self.recent.append(loss.item())
        if not math.isfinite(self.recent[-1]):
            raise DataError(
                f"step {position.step + 1}: the loss is {self.recent[-1]}; the last checkpoint in "
                f"{self.options.out} is intact, go on from it with --resume and a lower --lr"
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average of weights and batch norm statistics, short at first."""
        done = self.position.stage_step + 1
        decay = min(self.recipe.ema, done / (done + 19)) if self.recipe.ema else 0.0
        pairs = list(zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True))
        means, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, new, 1 - decay)  # all at once: a GPU waits for each call that it is given
        for mean, counter in pairs:
            if not mean.is_floating_point():
                mean.copy_(counter)

    def _judge(self) -> None:
        """Keep the averaged weights when they are the best of their stage on held-out images."""
        if not any(source.held_out for source in self.sources):
            return
        score = self.team.agree(self._score() if self.log else math.inf)
        position = self.position
        if score < position.best_error:
            self.best = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}
            self.position = replace(position, best_error=score, best_step=position.step, stale=0)
        elif position.stale + 1 >= self.recipe.patience:
            self.position = replace(position, stale=0, drops=position.drops + 1)
        else:
            self.position = replace(position, stale=position.stale + 1)

    def _score(self) -> float:
        """The geometric mean of the sets' relative errors; in a network's stages the mean loss on held-out crops."""
        assert self.log is not None
        stages, step = self.network.stages, self.position.step
        if stages:
            held = [replace(source, train=source.held_out) for source in self.sources if source.held_out]
            recipe = self._stage_recipe()
            crops = CropMaker(held, self.average, recipe, self.options.seed)
            needed = math.ceil(sum(len(source.held_out) for source in held) / recipe.batch)
            batches = (crops.batch(crops.crops(check), self.team.device) for check in range(min(needed, CHECKS)))
            score = mean_loss(self.average, batches, self.dtype)
            self.log.write({"step": step, "stage": stages[self.position.stage], "score": score})
            return score
        errors = validate(self.average, self.sources, self.recipe, self.dtype)
        score = mean_score(errors)
        self.log.write({"step": step, "score": score, **{error.name: asdict(error) for error in errors}})
        return score

    def _log_loss(self) -> None:
        position, done = self.position, self.progress
        entry = {
            "step": position.step,
            "loss": sum(self.recent) / len(self.recent),
            "lr": self.optimiser.param_groups[-1]["lr"],
            "seconds": position.seconds,
            "left": position.seconds * (1 - done) / done,
            **self.pace.since_last(),
        }
        self.recent.clear()
        if self.log:
            self.log.write(entry)

    def _save(self) -> None:
        if not self.team.first:
            return
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "hints": self.hints.state_dict() if self.hints else {},
            "optimiser": self.optimiser.state_dict(),
            "position": asdict(self.position),
            "recent": self.recent,
            "run": json.dumps(self.identity()),
        }
        save_checkpoint(self.options.out, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.best = {name: tensor.to(self.team.device) for name, tensor in state["best"].items()}
        if self.hints is not None:
            self.hints.load_state_dict(state["hints"])
        rates = [group["initial_lr"] for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["initial_lr"] = rate
        self.recent = state["recent"]
