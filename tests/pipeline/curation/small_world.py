"""A small input of any dialect for the driver's tests: records, images and a config beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from align2llava.pipeline.config.schema import Config, load_config
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.deciding.summary import Summary
from align2llava.pipeline.curation.endpoints.opening import Connector
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import FakeConnector

CONFIG = """
input: {path: raw.json, images_root: images}
endpoints:
  question_reward: {url: "grpc://nowhere:1", batch_items: 8}
  answer_reward: {url: "grpc://nowhere:2", batch_items: 8}
  inner_llm: {url: "grpc://nowhere:3", batch_items: 8}
run: {quarantine_limit: 1, scratch: scratch}
"""
NUM_IMAGES = 7


def record(
    number: int, *, turns: int = 1, question: str = "What is", answer: object = None
) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        token = "<image>\n" if turn == 0 else ""
        text = f"{question} object {number} in turn {turn}?"
        reply = f"It is a thing of colour {turn}." if answer is None else answer
        messages += [
            {"from": "human", "value": token + text},
            {"from": "gpt", "value": reply},
        ]
    image = f"{number // 2 % NUM_IMAGES}.png"
    return {"id": number, "image": image, "conversations": messages}


def records(num_records: int) -> list[dict[str, Any]]:
    return [record(number, turns=1 + number % 3) for number in range(num_records)]


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(NUM_IMAGES):
        Image.new("RGB", (8, 8), (number * 30, 0, 0)).save(folder / f"{number}.png")


def write_world(
    folder: Path, data: Sequence[object], *, dialect: str = "json", config: str = CONFIG
) -> Path:
    """Writes raw.json or raw.jsonl, images and curate.yaml; returns the config's path."""
    write_images(folder / "images")
    if dialect == "json":
        (folder / "raw.json").write_text(json.dumps(data, indent=1))
    else:
        (folder / "raw.jsonl").write_text("".join(json.dumps(one) + "\n" for one in data))
        config = config.replace("raw.json", "raw.jsonl")
    path = folder / "curate.yaml"
    path.write_text(config)
    return path


def run(
    config: Path | Config,
    run_dir: Path,
    *,
    connector: Connector | None = None,
    resume: Resume = Resume.NEVER,
    sets: Sequence[str] = (),
) -> Summary:
    return curate(
        load_config(config, sets=sets) if isinstance(config, Path) else config,
        run_dir=run_dir,
        resume=resume,
        connector=connector or FakeConnector(),
        api_key=None,
        progress=LineProgress(),
    )
