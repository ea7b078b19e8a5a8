"""Cases of training: what is broken is found before the first step, and pixels are those of serving."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cases.bench import A2L, MODELS, Bench
from tests.cases.case import Case, Fact, Ran, fact
from tests.contract.servers import ROOT

_PIXELS = """
import sys
from pathlib import Path
import numpy as np
from align2llava.pipeline.training.batches import BatchMaker
from align2llava.services.core.images import decoded
from align2llava.services.reward_model.llava.checkpoint import read_reward
from align2llava.services.reward_model.tokens.pixels import pixels_CHW
images, folder = map(Path, sys.argv[1:])
found = read_reward(folder, device="cpu", dtype="float32")
maker = BatchMaker(encoder=found.encoder, pixels=found.pixels, images_root=images, cached_images=4)
for path in sorted(images.iterdir()):
    trained = maker._load_pixels(path.name).numpy()
    served = pixels_CHW(decoded(path.read_bytes(), max_pixels=16_000_000), found.pixels)
    print(f"{path.name} {np.abs(trained - served).max():.2f}")
"""


def trained(at: Bench, folder: Path) -> tuple[Ran, Path]:
    """`a2l train question` for six steps, and its folder of work."""
    place = at.new_folder()
    config = place / "train.yaml"
    config.write_text(
        f"train: {{path: {folder}/train.json, images_root: {folder}/images}}\n"
        f"test: {{path: {folder}/test.json, images_root: {folder}/images}}\n"
        f"model: {{base: {MODELS}/base, name: t, image_mode: square, max_length: 128, "
        "store_dtype: float16}\n"
        "optimiser: {steps: 6, groups_per_step: 2, learning_rate: 1.0e-3}\n"
        f"run: {{work: {place}/work, out: {place}/out, snapshot_every: 100, evaluate_every: 100}}\n"
    )
    return at.run([A2L, "train", "question", config], name="train"), place / "work"


def has_begun(ran: Ran, work: Path) -> Fact:
    """No step was made: none is printed and none is noted."""
    lines = [line for line in ran.text.splitlines() if line.startswith("step")]
    notes = sorted(path.name for path in work.glob("*")) if work.exists() else []
    return fact("no step was made", holds=not lines and not notes, seen=lines[:1] or notes)


def lone_surrogate(at: Bench, folder: Path) -> Iterator[Fact]:
    ran, work = trained(at, folder)
    yield ran.ends(2)
    yield ran.says("surrogate")
    yield has_begun(ran, work)


def byte_order_mark(at: Bench, folder: Path) -> Iterator[Fact]:
    ran, _ = trained(at, folder)
    yield ran.ends(0)


def late_test_image(at: Bench, folder: Path) -> Iterator[Fact]:
    ran, work = trained(at, folder)
    yield ran.ends(2)
    yield ran.says("image")
    yield has_begun(ran, work)


def pixels(at: Bench, folder: Path) -> Iterator[Fact]:
    command = [sys.executable, "-c", _PIXELS, folder / "images", MODELS / "question-reward"]
    ran = at.run(command, name="pixels", cwd=ROOT, PYTHONPATH=str(ROOT))
    yield ran.ends(0)
    differences = [line.split()[1] for line in ran.out.splitlines() if line]
    is_same = bool(differences) and set(differences) == {"0.00"}
    yield fact("training sees what serving sees", holds=is_same, seen=ran.out.replace("\n", ", "))


CASES = (
    Case(name="train-bom", look=byte_order_mark),
    Case(name="train-late-test-image", look=late_test_image),
    Case(name="train-lone-surrogate", look=lone_surrogate),
    Case(name="train-serve-pixels", look=pixels),
)
