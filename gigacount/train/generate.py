"""PromptMix's images: captions of real photographs, and what a text-to-image diffusion model makes of them.

Bakhtiarnia, Zhang and Iosifidis, IJCNN 2023: prompts are extracted from a data set by a captioning network and given to
a diffusion model. Which models, the user says: folders, or names that Hugging Face's libraries fetch. Weights must be
safetensors, and no code that comes with a model is run. `mix` labels the images and trains on them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gigacount.atomic import replacing
from gigacount.datasets import Sample
from gigacount.errors import DataError, UsageError
from gigacount.geometry import fit, whole
from gigacount.image import GigaImage
from gigacount.networks.backends.torch import choose_device
from gigacount.options import GenerateOptions
from gigacount.train.sources import Notify

SEEN_WH = (1024, 1024)  # what a captioning model is shown at most; it shrinks further by itself
WORDS = 40  # tokens of a caption at most


def captions(samples: Iterable[Sample], model: str, device: str = "auto") -> Iterator[str]:
    """What a captioning model says of each image, in one line. Raises UsageError where it cannot be loaded."""
    transformers = library("transformers")
    place = choose_device(device)
    with explained(model):
        processor = transformers.AutoProcessor.from_pretrained(model)
        network = transformers.AutoModelForImageTextToText.from_pretrained(model, use_safetensors=True).to(place).eval()
    for sample in samples:
        with GigaImage.open(sample.image) as image:
            pixels = image.read(whole(image.size_wh), fit(image.size_wh, SEEN_WH))
        with torch.inference_mode():
            said = network.generate(**processor(images=pixels, return_tensors="pt").to(place), max_new_tokens=WORDS)
        yield " ".join(processor.batch_decode(said, skip_special_tokens=True)[0].split())


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that are not blank. Raises DataError where there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the prompts, a line each in UTF-8: {error}") from error
    if not any(lines):
        raise DataError(f"{path}: holds no prompts; write one on each line")
    return [line for line in lines if line]


def generate(options: GenerateOptions, prompts: list[str], notify: Notify = lambda line: None) -> Iterator[Path]:
    """Images of each prompt, `<number of the prompt>-<number>.png`, each by its own seed; those that stand are kept.

    Raises UsageError where the model cannot be loaded, OutputError where an image cannot be written.
    """
    due = [(n, k, options.out / f"{n:05d}-{k}.png") for n in range(len(prompts)) for k in range(options.each)]
    missing = [one for one in due if not one[2].exists()]
    if len(missing) < len(due):
        notify(f"{options.out}: {len(due) - len(missing)} of {len(due)} images are there already")
    pipeline = load_pipeline(options) if missing else None
    size = {} if options.size_wh is None else dict(zip(("width", "height"), options.size_wh, strict=True))
    for n, k, path in missing:
        seed = int.from_bytes(f"{options.seed} {n} {k}".encode(), "big") % 2**63
        random = torch.Generator("cpu").manual_seed(seed)
        assert pipeline is not None
        made = pipeline(prompts[n], num_inference_steps=options.steps, generator=random, **size).images[0]
        with replacing(path, overwrite=False) as fresh:
            made.save(fresh, format="PNG")
        yield path


def load_pipeline(options: GenerateOptions) -> Any:
    diffusers = library("diffusers")
    place = choose_device(options.device)
    with explained(options.model):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(options.model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(place, torch.float16) if place.type == "cuda" else pipeline.to(place)


def library(name: str) -> Any:
    """diffusers or transformers; UsageError where it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"{name} is not installed ({error}); pip install 'gigacount[generate]'") from error


@contextmanager
def explained(model: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"cannot load the model '{model}': {said}") from error
