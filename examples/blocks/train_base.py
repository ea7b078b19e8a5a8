"""Trains the middle model of blocks world: `python -m examples.blocks.train_base [--out DIR]`.

First the vision tower and the projector learn to name what each cell shows (LLaVA starts from
CLIP, which knows words); then, with both frozen, the language model learns to say what is true of a
picture: at first mostly descriptions, from which it finds the picture, then mostly answers to
questions, then which questions have no answer, last which answers are true. Were they not frozen, the first large gradients would drive all image features to one
constant (seen: their length grew 400-fold and the picture was never looked at again). It is the
base of both reward models. Scenes are drawn for this purpose alone; no file is read. Resumable.
Shapes: G images, P image tokens, C H W pixels, B rows, T tokens, K words.
"""

import argparse
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn, optim
from torch.nn import functional

from align2llava.pipeline.training.language import LlavaLanguageModel
from align2llava.pipeline.training.loop import Training
from align2llava.pipeline.training.schedule import learning_rate
from align2llava.services.reward_model.llava.export import write_language_model
from align2llava.services.reward_model.llava.model import image_geometry, special_ids
from align2llava.services.reward_model.tokens.batches import padded_rows
from align2llava.services.reward_model.tokens.inputs import RowEncoder, TextLimits, TokenRow
from align2llava.services.reward_model.tokens.pixels import pixels_CHW
from examples.blocks.render import render
from examples.blocks.scene import CELLS, COLORS, SHAPES, WORDS, Block, Scene, Sign, draw_scenes
from examples.blocks.train_shape import MAX_LENGTH, PIXELS, llava_config
from examples.blocks.train_tokenizer import build_tokenizer
from examples.blocks.train_truths import Form, truthful_text

NAMES = (*COLORS, *SHAPES, *WORDS, "sign", "nothing")
PLACES = ("top", "bottom", "left", "right", "center")
LABEL_SCALE = 10.0  # of a feature's product with a word: keeps features as short as embeddings
FROZEN_CHUNK = 256  # pictures at once


ROWS = {
    Form.SHORT: 96,
    Form.MIDDLE: 64,
    Form.LONG: 24,
    Form.ABSENT: 96,
    Form.QUESTIONS: 64,
    Form.CHECK_SHORT: 96,
    Form.CHECK_MIDDLE: 64,
    Form.CHECK_LONG: 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPhase:
    """One language stage: the share of steps of each form, and the learning rate.

    The rate follows a cosine over `horizon` steps, of which the stage takes the first `steps`.
    """

    shares: dict[Form, float]
    steps: int
    horizon: int
    rate: float
    rows: dict[Form, int] = field(default_factory=lambda: ROWS)


DESCRIBING = TrainingPhase(
    shares={Form.SHORT: 0.5, Form.MIDDLE: 0.2, Form.LONG: 0.3},
    rows={Form.SHORT: 32, Form.MIDDLE: 32, Form.LONG: 32},
    steps=1100,
    horizon=1800,
    rate=1.5e-3,
)
ANSWERING = TrainingPhase(
    shares={Form.SHORT: 0.5, Form.MIDDLE: 0.4, Form.LONG: 0.1},
    steps=1000,
    horizon=1000,
    rate=1.5e-3,
)
DOUBTING = TrainingPhase(
    shares={
        Form.SHORT: 0.3,
        Form.MIDDLE: 0.25,
        Form.LONG: 0.05,
        Form.ABSENT: 0.1,
        Form.QUESTIONS: 0.3,
    },
    steps=400,
    horizon=1200,
    rate=1.2e-3,
)
CHECKING = TrainingPhase(
    shares={
        Form.SHORT: 0.2,
        Form.MIDDLE: 0.15,
        Form.LONG: 0.05,
        Form.ABSENT: 0.05,
        Form.QUESTIONS: 0.2,
        Form.CHECK_SHORT: 0.15,
        Form.CHECK_MIDDLE: 0.1,
        Form.CHECK_LONG: 0.1,
    },
    steps=500,
    horizon=1000,
    rate=1.2e-3,
)
JUDGING = TrainingPhase(
    shares={
        Form.SHORT: 0.15,
        Form.MIDDLE: 0.15,
        Form.LONG: 0.1,
        Form.QUESTIONS: 0.2,
        Form.CHECK_SHORT: 0.15,
        Form.CHECK_MIDDLE: 0.15,
        Form.CHECK_LONG: 0.1,
    },
    steps=1000,
    horizon=1000,
    rate=1.2e-3,
)


REFINING = TrainingPhase(
    shares={
        Form.SHORT: 0.15,
        Form.MIDDLE: 0.2,
        Form.LONG: 0.15,
        Form.QUESTIONS: 0.1,
        Form.CHECK_SHORT: 0.1,
        Form.CHECK_MIDDLE: 0.15,
        Form.CHECK_LONG: 0.15,
    },
    steps=1500,
    horizon=1500,
    rate=1.2e-3,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The numbers that decide the weights."""

    seed: int = 0
    num_scenes: int = 4000
    vision_steps: int = 300
    vision_images: int = 64  # per step
    vision_rate: float = 2e-3
    stages: tuple[TrainingPhase, ...] = (
        DESCRIBING,
        ANSWERING,
        DOUBTING,
        CHECKING,
        JUDGING,
        REFINING,
    )

    @property
    def num_steps(self) -> int:
        """All steps, those of vision first."""
        return self.vision_steps + sum(stage.steps for stage in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """All scenes and what the vision tower sees of them."""

    scenes: list[Scene]
    pixels_GCHW: Tensor
    labels_GPK: Tensor  # which words each cell shows


def words_of(scene: Scene, place: int) -> set[str]:
    """Returns the words that name a cell and what it holds."""
    where = set(CELLS[place].split())
    match scene.things[place]:
        case Block() as block:
            return where | {block.color, block.shape}
        case Sign() as sign:
            return where | {sign.word, "sign"}
        case None:
            return where | {"nothing"}


def draw_pictures(recipe: Recipe) -> Pictures:
    """Returns the training pictures of a seed."""
    scenes = list(islice(draw_scenes(recipe.seed, "middle model"), recipe.num_scenes))
    pixels = [torch.from_numpy(pixels_CHW(render(scene), PIXELS)) for scene in scenes]
    labels = [
        [[float(word in shown) for word in (*NAMES, *PLACES)] for shown in _shown(scene)]
        for scene in scenes
    ]
    return Pictures(scenes=scenes, pixels_GCHW=torch.stack(pixels), labels_GPK=torch.tensor(labels))


def _shown(scene: Scene) -> list[set[str]]:
    return [words_of(scene, place) for place in range(len(CELLS))]


class Trainer:
    """The model, its optimiser and the two kinds of steps."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer = build_tokenizer()
        config = llava_config(self.tokenizer.get_vocab_size())
        self.model = LlavaLanguageModel(config)
        # Words are read and written alike at first, which makes naming what is seen easy to find.
        embeddings = self.model.llava.language_model.embed_tokens.weight
        self.model.lm_head.weight.data.copy_(embeddings.data)
        self.optimiser = optim.AdamW(
            self.model.parameters(), lr=recipe.vision_rate, weight_decay=0.01, betas=(0.9, 0.95)
        )
        self.encoder = RowEncoder(
            build_tokenizer(),
            special=special_ids(config),
            limits=TextLimits(max_length=MAX_LENGTH, max_chars=MAX_LENGTH * 32),
            num_image_tokens=image_geometry(config)[1],
        )
        self._pictures = draw_pictures(recipe)
        self._features_GPD: Tensor | None = None
        self._word_ids = torch.tensor([_word_id(self.tokenizer, w) for w in (*NAMES, *PLACES)])

    def vision_loss(self, rng: Random) -> Tensor:
        """Returns the loss of naming each cell by the words' embeddings, in nats a word."""
        places = self._sample(self.recipe.vision_images, rng)
        features_GPD = self.model.image_features(self._pictures.pixels_GCHW[places])
        embeddings = self.model.llava.language_model.embed_tokens.weight.detach()
        logits_GPK = LABEL_SCALE * features_GPD @ embeddings[self._word_ids].T
        return functional.binary_cross_entropy_with_logits(
            logits_GPK, self._pictures.labels_GPK[places]
        )

    def language_loss(self, stage: TrainingPhase, rng: Random) -> Tensor:
        """Returns the loss of true answers to questions about pictures, in nats a token."""
        form = rng.choices(list(stage.shares), list(stage.shares.values()))[0]
        places = self._sample(stage.rows[form], rng)
        scenes = self._pictures.scenes
        rows: list[TokenRow] = []
        num_prompt: list[int] = []
        for place in places.tolist():
            other = scenes[(place + 1) % len(scenes)]
            text = truthful_text(form, scenes[place], other=other, rng=rng)
            rows.append(self.encoder.encode(text.prompt + text.completion, has_image=True))
            num_prompt.append(len(self.encoder.encode(text.prompt, has_image=True).ids))
        ids_BT, mask_BT = padded_rows(rows, pad=self.encoder.special.pad)
        features_BPD = self._frozen_features()[places]
        loss: Tensor = self.model(
            ids_BT, mask_BT, features_BPD, num_prompt_B=torch.tensor(num_prompt)
        )
        return loss

    def _frozen_features(self) -> Tensor:
        """Returns all pictures' features; call it only once the vision steps are over."""
        if self._features_GPD is None:
            chunks = self._pictures.pixels_GCHW.split(FROZEN_CHUNK)
            with torch.no_grad():
                features = [self.model.image_features(pixels) for pixels in chunks]
            self._features_GPD = torch.cat(features)
        return self._features_GPD

    def update(self, loss: Tensor, rate: float) -> None:
        """Takes one step down the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()

    def _sample(self, count: int, rng: Random) -> Tensor:
        return torch.tensor(rng.sample(range(len(self._pictures.scenes)), count))


def _word_id(tokenizer: Tokenizer, word: str) -> int:
    ids = tokenizer.encode(word, add_special_tokens=False).ids
    assert len(ids) == 1, f"{word} is no single token"
    return ids[0]


def train_base(recipe: Recipe, *, work: Path, out: Path, snapshot_every: int = 100) -> None:
    """Trains the middle model, from the newest snapshot in `work`, and writes it to `out`."""
    trainer = Trainer(recipe)
    training = Training(
        model=trainer.model,
        optimiser=trainer.optimiser,
        work=work,
        fingerprint=repr(recipe),
        num_steps=recipe.num_steps,
        snapshot_every=snapshot_every,
    )
    started = time.monotonic()

    def take(step: int) -> None:
        loss = _step(trainer, step)
        if (step + 1) % 25 == 0:
            print(f"step {step + 1} loss {loss:.4f} after {time.monotonic() - started:.0f} s")

    training.run(take, start=training.resume())
    write_language_model(
        out, trainer.model, tokenizer=trainer.tokenizer, pixels=PIXELS, dtype="float16"
    )


def _step(trainer: Trainer, step: int) -> float:
    recipe = trainer.recipe
    rng = Random(f"{recipe.seed}/{step}")
    if step < recipe.vision_steps:
        loss = trainer.vision_loss(rng)
        rate = _rate(step, peak=recipe.vision_rate, num_steps=recipe.vision_steps)
    else:
        stage, position = _stage_of(recipe, step - recipe.vision_steps)
        loss = trainer.language_loss(stage, rng)
        rate = _rate(position, peak=stage.rate, num_steps=stage.horizon)
    trainer.update(loss, rate)
    return loss.item()


def _stage_of(recipe: Recipe, position: int) -> tuple[TrainingPhase, int]:
    """Returns the stage of a language step and the step's place in it."""
    for stage in recipe.stages:
        if position < stage.steps:
            return stage, position
        position -= stage.steps
    raise AssertionError("the step lies after the last stage")


def _rate(position: int, *, peak: float, num_steps: int) -> float:
    return learning_rate(position, peak=peak, num_steps=num_steps, warmup=0.03)


def main() -> None:
    """Reads the command line and trains."""
    models = Path(__file__).parent / "models"
    parser = argparse.ArgumentParser(description="Trains the middle model of blocks world.")
    parser.add_argument("--out", type=Path, default=models / "base")
    parser.add_argument("--work", type=Path, default=Path("runs/models/base"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train_base(Recipe(), work=arguments.work, out=arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
