"""Targets that read files in one process: configs, inputs, preferences, truths, images, checkpoints."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import torch
from safetensors.torch import save

from align2llava.pipeline.config.schema import InputPath, dump_config, load_config
from align2llava.pipeline.curation.figures.truth import read_truth
from align2llava.pipeline.curation.input.files import dialect_of, read_elements
from align2llava.pipeline.curation.input.images import find_image
from align2llava.pipeline.curation.input.records import read_record
from align2llava.pipeline.errors import PipelineError
from align2llava.pipeline.preferences.readers import read_groups
from align2llava.pipeline.training.config import load_training_config
from align2llava.services.auth import load_keys
from align2llava.services.reward_model.llava.checkpoint import (
    read_config,
    read_encoder,
    read_pixels,
    read_reward_file,
)
from align2llava.services.reward_model.tokens.inputs import TextLimits
from align2llava.services.reward_model.weights import CheckpointError, read_weights
from align2llava.services.settings import SettingsError, load_settings
from tests.fuzz.campaign import ROOT, Feed, Target, Verdict
from tests.fuzz.mutator import Grammar, Seed

BLOCKS = ROOT / "examples" / "blocks"
_CONFIG = b"""input: {path: raw.json, images_root: images, format: auto, text_only: drop}
endpoints:
  question_reward: {url: "grpc://127.0.0.1:50051", batch_items: 8, timeout_s: 2.5}
  answer_reward: {url: ["http://127.0.0.1:3002", "http://127.0.0.1:3012"]}
  inner_llm: {url: "grpc://127.0.0.1:50053"}
selection: {question: on, answer: on, question_keep: 0.3, answer_keep: {a: 0.2, b: 1}, stratum: type}
alignment: {rewrite: on, review: on}
run: {seed: 0, quarantine_limit: 0.05}
"""
_OPTIONS = b"""selection.question_keep=0.3
input.path=[{path: a.json, type: x}]
endpoints.inner_llm.url=grpc://127.0.0.1:1
run.seed=7"""
_SETTINGS = b"""A2L_GRPC_PORT=0
A2L_MAX_PIXELS=1000
A2L_MAX_WAIT_MS=2.5
A2L_ALLOW_OPEN=true
A2L_DTYPE=float32"""
_RECORDS: list[dict[str, object]] = [
    {
        "id": f"{n:06}",
        "image": "a.png",
        "type": "detail",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "It is red." if n else ["It is red.", "It is blue."]},
        ],
    }
    for n in range(3)
]
_PREFERENCES: dict[str, list[dict[str, object]]] = {
    "question-reward": [
        {"id": "1", "image": "a.png", "questions": [["a?"], ["b?", "c?"]], "score": [0.25, 1]}
    ],
    "answer-reward": [
        {
            "id": "1",
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "a?"},
                {"from": "gpt", "value": ["b", "c"], "score": [0, 0.5]},
            ],
        }
    ],
}
_TRUTH = b'{"id": "1", "type": "a", "good": true, "defects": []}\n{"id": 2, "type": "a", "good": false, "defects": ["x"]}\n'


def one_file(
    name: str, read: Callable[[Path], object]
) -> Callable[[Path], AbstractContextManager[Feed]]:
    """Feeds a reader of files: each input is the file's bytes."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Feed]:
        path = folder / name

        def feed(data: bytes) -> Verdict:
            path.write_bytes(data)
            read(path)
            return Verdict.ACCEPTED

        yield feed

    return opened


def _seeds(*bodies: bytes, grammar: Grammar) -> Callable[[], Sequence[Seed]]:
    return lambda: [Seed(body=body, grammar=grammar) for body in bodies]


def _read_options(path: Path) -> None:
    sets = [
        line for line in path.read_bytes().decode("utf-8", "surrogateescape").split("\n") if line
    ]
    good = path.with_name("curate.yaml")
    good.write_bytes(_CONFIG)
    named = {
        "A2L__" + name.replace(".", "__").upper(): value
        for name, equals, value in (line.partition("=") for line in sets)
        if equals and "\x00" not in name + value
    }
    load_config(good, sets=sets, environ={})
    load_config(good, sets=[], environ=named)


def _read_config(path: Path) -> None:
    config = load_config(path, environ={})
    text = dump_config(config)
    path.with_name("again.yaml").write_text(text)
    assert load_config(path.with_name("again.yaml"), environ={}) == config


def _read_settings(path: Path) -> None:
    lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    load_settings("question-reward", {"A2L_ENGINE": "fake", **dict(_pair(line) for line in lines)})


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value


def _read_input(dialect: Literal["json", "jsonl", "auto"]) -> Callable[[Path], object]:
    def read(path: Path) -> None:
        found = dialect_of(InputPath(path=path), input_format=dialect)
        for element in read_elements(path, found):
            reading = read_record(element.raw, configured_type="auto", max_text_chars=1000)
            if reading.image is not None:
                find_image(reading.image, root=path.parent, link_roots=())

    return read


def _preferences(kind: Literal["question-reward", "answer-reward"]) -> Target:
    return Target(
        name=f"preferences of {kind}",
        seeds=_seeds(json.dumps(_PREFERENCES[kind]).encode(), grammar="json"),
        opened=one_file("preferences.json", lambda path: read_groups(path, kind)),
        typed=(PipelineError,),
        num_inputs=7_000,
    )


def _compressed_seeds() -> list[Seed]:
    plain = json.dumps(_RECORDS).encode()
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(plain)
    return [
        Seed(body=gzip.compress(plain), grammar="bytes", prefix=b"g"),
        Seed(body=sink.getvalue().to_pybytes(), grammar="bytes", prefix=b"z"),
    ]


@contextmanager
def _compressed_input(folder: Path) -> Iterator[Feed]:
    read = _read_input("json")

    def feed(data: bytes) -> Verdict:
        path = folder / ("raw.json.gz" if data[:1] == b"g" else "raw.json.zst")
        path.write_bytes(data[1:])
        read(path)
        return Verdict.ACCEPTED

    yield feed


def _small_weights(*, scale: float = 1.0) -> bytes:
    names = ("language_model.score.weight", "language_model.lm_head.weight")
    return save({name: torch.full((2, 3), scale) for name in names}, metadata={"format": "pt"})


def _weight_seeds() -> list[Seed]:
    index = {
        "metadata": {"total_size": 48},
        "weight_map": {
            "language_model.score.weight": "model-00001-of-00001.safetensors",
            "language_model.lm_head.weight": "model-00001-of-00001.safetensors",
        },
    }
    return [
        Seed(body=_small_weights(), grammar="tensors", prefix=b"w"),
        Seed(body=_small_weights(), grammar="tensors", prefix=b"s"),
        Seed(body=json.dumps(index).encode(), grammar="json", prefix=b"i"),
    ]


@contextmanager
def _weights(folder: Path) -> Iterator[Feed]:
    """A single file, a shard with a good index, or the index with a good shard."""
    shard, index = (
        folder / "sharded" / "model-00001-of-00001.safetensors",
        folder / "sharded" / "model.safetensors.index.json",
    )
    single = folder / "single" / "model.safetensors"
    single.parent.mkdir()
    shard.parent.mkdir()
    good = {seed.prefix: seed.body for seed in _weight_seeds()}

    def feed(data: bytes) -> Verdict:
        which, body = data[:1], data[1:]
        single.write_bytes(body if which == b"w" else good[b"w"])
        shard.write_bytes(body if which == b"s" else good[b"s"])
        index.write_bytes(body if which == b"i" else good[b"i"])
        place = single.parent if which == b"w" else shard.parent
        wanted = {"score.weight": torch.empty(2, 3)}
        read_weights(place, wanted, device="cpu", dtype=torch.float32)
        return Verdict.ACCEPTED

    yield feed


_CARDS = ("config.json", "reward.json", "preprocessor_config.json", "tokenizer.json")


def _card_seeds() -> list[Seed]:
    folder = BLOCKS / "models" / "question-reward"
    return [
        Seed(body=(folder / name).read_bytes(), grammar="json", prefix=bytes([place]))
        for place, name in enumerate(_CARDS)
        for _ in range(1 if name == "tokenizer.json" else 4)
    ]


@contextmanager
def _checkpoint_cards(folder: Path) -> Iterator[Feed]:
    model = folder / "model"
    shutil.copytree(BLOCKS / "models" / "question-reward", model)

    def feed(data: bytes) -> Verdict:
        path = model / _CARDS[data[0]]
        good = (BLOCKS / "models" / "question-reward" / path.name).read_bytes()
        path.write_bytes(data[1:])
        try:
            file = read_reward_file(model)
            config = read_config(model)
            read_pixels(model, config, file.image_mode)
            limits = TextLimits(max_length=file.max_length, max_chars=file.max_chars)
            read_encoder(model, config, limits)
        finally:
            path.write_bytes(good)
        return Verdict.ACCEPTED

    yield feed


TARGETS = (
    Target(
        name="curation config",
        seeds=_seeds(_CONFIG, (BLOCKS / "curate.yaml").read_bytes(), grammar="yaml"),
        opened=one_file("curate.yaml", _read_config),
        typed=(PipelineError,),
        num_inputs=3_000,
    ),
    Target(
        name="--set and A2L__ names",
        seeds=_seeds(_OPTIONS, grammar="lines"),
        opened=one_file("options", _read_options),
        typed=(PipelineError,),
        num_inputs=2_000,
    ),
    Target(
        name="training config",
        seeds=_seeds((BLOCKS / "train-question.yaml").read_bytes(), grammar="yaml"),
        opened=one_file("train.yaml", load_training_config),
        typed=(PipelineError,),
        num_inputs=2_500,
    ),
    Target(
        name="service settings",
        seeds=_seeds(_SETTINGS, grammar="lines"),
        opened=one_file("settings", _read_settings),
        typed=(SettingsError,),
        num_inputs=4_000,
    ),
    Target(
        name="service key files",
        seeds=_seeds(b"# ours\nsecret-key\nother\n", grammar="bytes"),
        opened=one_file("keys", load_keys),
        typed=(SettingsError,),
        num_inputs=2_000,
    ),
    Target(
        name="input, JSON array",
        seeds=_seeds(json.dumps(_RECORDS, indent=1).encode(), grammar="json"),
        opened=one_file("raw.json", _read_input("auto")),
        typed=(PipelineError,),
        num_inputs=20_000,
    ),
    Target(
        name="input, JSON lines",
        seeds=_seeds(b"".join(json.dumps(r).encode() + b"\n" for r in _RECORDS), grammar="jsonl"),
        opened=one_file("raw.jsonl", _read_input("auto")),
        typed=(PipelineError,),
        num_inputs=20_000,
    ),
    Target(
        name="input, by its first byte",
        seeds=_seeds(
            json.dumps(_RECORDS).encode(), json.dumps(_RECORDS[0]).encode(), grammar="json"
        ),
        opened=one_file("raw.txt", _read_input("auto")),
        typed=(PipelineError,),
        num_inputs=5_000,
    ),
    Target(
        name="input, gz and zst",
        seeds=_compressed_seeds,
        opened=_compressed_input,
        typed=(PipelineError,),
        num_inputs=3_000,
    ),
    _preferences("question-reward"),
    _preferences("answer-reward"),
    Target(
        name="truth files",
        seeds=_seeds(_TRUTH, grammar="jsonl"),
        opened=one_file("truth.jsonl", read_truth),
        typed=(PipelineError,),
        num_inputs=9_000,
    ),
    Target(
        name="weights and their index",
        seeds=_weight_seeds,
        opened=_weights,
        typed=(CheckpointError,),
        num_inputs=4_000,
    ),
    Target(
        name="cards of a checkpoint",
        seeds=_card_seeds,
        opened=_checkpoint_cards,
        typed=(CheckpointError,),
        num_inputs=1_500,
    ),
)
