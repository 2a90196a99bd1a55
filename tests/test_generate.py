"""PromptMix's pictures: prompts read, pictures made once and the same again, and a tiny random diffusion model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gigacount.cli import app
from gigacount.errors import DataError, UsageError
from gigacount.options import GenerateOptions
from gigacount.train.generate import generate, read_prompts


class Noise:
    """In the place of a diffusion model: noise by its generator, and a record of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, prompt: str, generator: torch.Generator, **options: Any) -> SimpleNamespace:
        self.asked.append((prompt, options))
        pixels = torch.randint(256, (8, 12, 3), generator=generator, dtype=torch.uint8).numpy()
        return SimpleNamespace(images=[Image.fromarray(pixels)])


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Noise:
    made = Noise()
    monkeypatch.setattr("gigacount.train.generate.load_pipeline", lambda options: made)
    return made


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_picture_follows_from_seed_prompt_and_number_and_is_made_once(noise: Noise, tmp_path: Path) -> None:
    options = GenerateOptions("x", tmp_path / "a", each=2, size_wh=(12, 8), steps=3)
    options.out.mkdir()
    paths = list(generate(options, ["a crowd", "a square"]))
    assert [path.name for path in paths] == ["00000-0.png", "00000-1.png", "00001-0.png", "00001-1.png"]
    assert noise.asked[2] == ("a square", {"num_inference_steps": 3, "width": 12, "height": 8})
    assert len({pixels(path).tobytes() for path in paths}) == 4
    first = pixels(paths[0]).copy()
    paths[0].unlink()
    told: list[str] = []
    assert list(generate(options, ["a crowd", "a square"], told.append)) == paths[:1]
    assert np.array_equal(pixels(paths[0]), first)
    assert "3 of 4 images are there already" in told[0]


def test_the_command_makes_pictures_of_a_file_of_prompts(noise: Noise, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("people on a square\n\n a marathon \n")
    arguments = ["synthesize", "--prompts", str(prompts), "--model", "x", "--out", str(tmp_path / "made"), "-q"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert [Path(line).name for line in result.stdout.splitlines()] == ["00000-0.png", "00001-0.png"]
    assert [prompt for prompt, _ in noise.asked] == ["people on a square", "a marathon"]


@pytest.mark.parametrize("arguments", [["--model", "x"], ["--prompts", "p.txt"]])
def test_half_of_what_it_takes_is_refused(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["synthesize", "--out", str(tmp_path), *arguments])
    assert isinstance(result.exception, UsageError)


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match="holds no prompts"):
        read_prompts(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="cannot read the prompts"):
        read_prompts(tmp_path / "none.txt")


TOKENS = ("vocab.json", "merges.txt")


def tiny_diffusion_model(folder: Path) -> Path:
    """Stable Diffusion with a few random parameters."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    folder.mkdir()
    letters = [chr(code) + end for code in range(97, 123) for end in ("", "</w>")]
    vocabulary = {token: n for n, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1,
        projection_dim=8, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    blocks = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 2}
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **blocks
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(*(str(folder / name) for name in TOKENS), model_max_length=77),
        unet=diffusers.UNet2DConditionModel(
            sample_size=16, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=8,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, **blocks,
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


def test_a_tiny_random_diffusion_model_makes_pictures(tmp_path: Path) -> None:
    model = tiny_diffusion_model(tmp_path / "tiny")
    options = GenerateOptions(str(model), tmp_path / "made", size_wh=(48, 32), steps=2, device="cpu")
    options.out.mkdir()
    (path,) = generate(options, ["a crowd on a square"])
    assert pixels(path).shape == (32, 48, 3)
    assert pixels(path).std() > 1
    with pytest.raises(UsageError, match="cannot load the model"):
        list(generate(GenerateOptions(str(tmp_path / "none"), tmp_path / "made", device="cpu"), ["other", "prompts"]))
