"""Makes a small but whole run directory, as `a2l curate` would leave it, without any service.

Rewards are simulated from a known truth; everything else (ranks, cuts, ledger, quarantine,
manifest) is what the figures of a report have to add up to.
"""

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from align2llava.pipeline.config.schema import dump_config, load_config
from align2llava.pipeline.curation.layout import (
    DECISIONS,
    REWRITES,
    SCORES,
    Gate,
    RewardStage,
    RunPaths,
)
from align2llava.pipeline.curation.store.events import EventLog

TYPES = ("conversation", "detail", "complex_reasoning")
COLOURS = ("crimson", "royalblue", "seagreen", "goldenrod", "slategray", "orchid")
SHAPES = ("circle", "square", "triangle")
KEEP = 0.3
SEED = 7


@dataclass
class RunFixture:
    """A run directory, its raw input and its truth file."""

    run: Path
    raw: Path
    truth: Path
    rows: list[dict[str, Any]]
    records: list[dict[str, Any]]

    def of_decision(self, decision: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["decision"] == decision]


@dataclass
class _Draft:
    record: dict[str, object]
    type: str
    good: bool
    defects: list[str]
    uid_start: str = ""
    fault: tuple[str, str] | None = None
    row: dict[str, object] = field(default_factory=dict)


def make_run(
    folder: Path,
    *,
    num_records: int = 240,
    hostile: str = "",
    type_suffix: str = "",
    uid_start: str = "",
    candidates: int = 1,
) -> RunFixture:
    """Writes raw.json, images, truth.jsonl and RUN under `folder`; `hostile` goes into texts."""
    rng = random.Random(SEED)
    images = folder / "images"
    images.mkdir(parents=True)
    drafts = [_draft(rng, index, images, hostile) for index in range(num_records)]
    for draft in drafts:
        draft.type += type_suffix
        draft.record |= {"type": draft.type}
        draft.uid_start = uid_start
        if candidates > 1:
            _offer_candidates(draft)
    raw = folder / "raw.json"
    raw.write_bytes(orjson.dumps([draft.record for draft in drafts]))
    truth = folder / "truth.jsonl"
    truth.write_bytes(b"\n".join(map(_truth_line, drafts)) + b"\n")
    run = RunPaths(folder / "run")
    run.root.mkdir()
    (folder / "curate.yaml").write_text(
        "input: {path: raw.json, images_root: images}\n"
        "endpoints:\n"
        "  question_reward: {url: 'grpc://127.0.0.1:1'}\n"
        "  answer_reward: {url: 'grpc://127.0.0.1:2'}\n"
        "  inner_llm: {url: 'grpc://127.0.0.1:3'}\n"
        f"run: {{seed: {SEED}}}\n"
    )
    run.config.write_text(dump_config(load_config(folder / "curate.yaml", environ={})))
    _decide(drafts, rng)
    rows = [draft.row for draft in drafts]
    pq.write_table(pa.Table.from_pylist(rows, schema=DECISIONS), run.decisions)
    _write_scores(run, drafts)
    _write_rewrites(run, drafts, rng)
    _write_quarantine(run, drafts)
    _write_dataset(run, drafts)
    _write_manifest(run, raw, rows)
    _write_events(run, rng)
    return RunFixture(
        run=run.root, raw=raw, truth=truth, rows=rows, records=[draft.record for draft in drafts]
    )


def _draft(rng: random.Random, index: int, images: Path, hostile: str) -> _Draft:
    kind = TYPES[index % 3]
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    name = f"{index // 3:06d}.png"
    if not (images / name).exists():
        _draw(images / name, colour, shape)
    good = rng.random() < 0.5
    defects = [] if good else [rng.choice(["wrong_colour", "generic_question", "rambling"])]
    turns = rng.randint(2, 5) if kind == "conversation" else 1
    conversations = [
        {"from": who, "value": value}
        for turn in range(turns)
        for who, value in (
            (
                "human",
                ("<image>\n" if turn == 0 else "") + f"What colour is the {shape} {turn}?{hostile}",
            ),
            (
                "gpt",
                f"The {shape} is {colour}."
                + " It stands on a plain ground." * rng.randint(0, 6)
                + hostile,
            ),
        )
    ]
    record: dict[str, object] = {
        "id": f"{index // 3:06d}",
        "image": name,
        "type": kind,
        "conversations": conversations,
    }
    draft = _Draft(record=record, type=kind, good=good, defects=defects)
    if index % 60 == 17:
        record["image"] = "gone.png"
        draft.fault = ("image_missing", f"image gone.png is not under the images root{hostile}")
    elif index % 60 == 31:
        record["conversations"] = []
        draft.fault = ("invalid_record", "0 turns; at least one human and one gpt turn are needed")
    elif index % 60 == 47:
        del record["image"]
    return draft


def _draw(path: Path, colour: str, shape: str) -> None:
    image = Image.new("RGB", (96, 96), "whitesmoke")
    pen = ImageDraw.Draw(image)
    box = (22, 22, 74, 74)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(48, 20), (76, 74), (20, 74)], fill=colour)
    image.save(path)


def _truth_line(draft: _Draft) -> bytes:
    return orjson.dumps(
        {"id": draft.record["id"], "type": draft.type, "good": draft.good, "defects": draft.defects}
    )


def _uid(content: bytes, position: int) -> str:
    # The position keeps equal records apart, which a test of equal content would not want.
    return hashlib.blake2b(content + bytes([position % 256]), digest_size=16).hexdigest()


def _offer_candidates(draft: _Draft) -> None:
    conversations = draft.record["conversations"]
    assert isinstance(conversations, list)
    for message in conversations[1::2]:
        message["value"] = [message["value"], message["value"] + " (second)"]


def _decide(drafts: list[_Draft], rng: random.Random) -> None:
    for position, draft in enumerate(drafts):
        content = orjson.dumps(draft.record, option=orjson.OPT_SORT_KEYS)
        draft.row = dict.fromkeys(DECISIONS.names) | {
            "position": position,
            "uid": draft.uid_start + _uid(content, position)[len(draft.uid_start) :],
            "id": orjson.dumps(draft.record["id"]).decode(),
            "type": draft.type,
            "stage": "input",
            "decision": "quarantined" if draft.fault else "dropped",
            "reason": draft.fault[0] if draft.fault else "text_only",
        }
    able = [draft for draft in drafts if draft.fault is None and "image" in draft.record]
    for kind in dict.fromkeys(draft.type for draft in drafts):
        members = [draft for draft in able if draft.type == kind]
        survivors = _cut(members, RewardStage.QUESTION, rng)
        for draft in _cut(survivors, RewardStage.ANSWER, rng):
            draft.row |= {"stage": "done", "decision": "kept", "reason": "kept"}


def _cut(members: list[_Draft], stage: RewardStage, rng: random.Random) -> list[_Draft]:
    for draft in members:
        draft.row[f"{stage}_reward"] = rng.gauss(1.2 if draft.good else -0.6, 1.0)
    ranked = sorted(members, key=lambda draft: -float(str(draft.row[f"{stage}_reward"])))
    cut = int(KEEP * len(members) + 0.5)
    for rank, draft in enumerate(ranked, start=1):
        draft.row |= {f"{stage}_rank": rank, f"{stage}_cut": cut, "stage": stage.value}
        draft.row["reason"] = f"below_{stage}_cut"
    return ranked[:cut]


def _write_scores(run: RunPaths, drafts: list[_Draft]) -> None:
    for stage in RewardStage:
        run.scores(stage).mkdir(parents=True)
        rows = [
            {
                "uid": draft.row["uid"],
                "turn": turn,
                "candidate": candidate,
                "reward": draft.row[f"{stage}_reward"],
                "identity": f"{stage}-tiny",
                "num_tokens": 40,
                "truncated": draft.row["position"] == 0,
                "device_ms": 2.5,
            }
            for draft in drafts
            if draft.row[f"{stage}_reward"] is not None
            for turn in ([-1] if stage is RewardStage.QUESTION else range(_num_turns(draft)))
            for candidate in range(1 if stage is RewardStage.QUESTION else _num_candidates(draft))
        ]
        table = pa.Table.from_pylist(rows, schema=SCORES)
        pq.write_table(table, run.scores(stage) / "part-000000.parquet")


def _num_candidates(draft: _Draft) -> int:
    conversations = draft.record["conversations"]
    assert isinstance(conversations, list)
    return len(conversations[1]["value"]) if isinstance(conversations[1]["value"], list) else 1


def _num_turns(draft: _Draft) -> int:
    conversations = draft.record["conversations"]
    assert isinstance(conversations, list)
    return len(conversations) // 2


def _write_rewrites(run: RunPaths, drafts: list[_Draft], rng: random.Random) -> None:
    run.rewrites.mkdir()
    rows = [
        _rewrite(
            draft, turn, rng.choice(["rewritten", "rewritten", "rewritten", "original", "gated"])
        )
        for draft in drafts
        if draft.row["decision"] == "kept"
        for turn in range(_num_turns(draft))
    ]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=REWRITES), run.rewrites / "part-000000.parquet"
    )


def _rewrite(draft: _Draft, turn: int, status: str) -> dict[str, object]:
    conversations = draft.record["conversations"]
    assert isinstance(conversations, list)
    question = conversations[2 * turn]["value"].removeprefix("<image>\n")
    value = conversations[2 * turn + 1]["value"]
    answer = value[0] if isinstance(value, list) else value
    gates = {gate.column: True for gate in Gate}
    if status == "gated":
        gates[Gate.NUMBERS.column] = False
    verdict = {"rewritten": "rewrite", "original": "original", "gated": None}[status]
    return (
        dict.fromkeys(REWRITES.names)
        | gates
        | {
            "uid": draft.row["uid"],
            "turn": turn,
            "original_question": question,
            "original_answer": answer,
            "rewrite_question": question.replace("What colour is", "Which colour has"),
            "rewrite_answer": answer.replace("The", "In the picture, the")
            + " I can see it clearly.",
            "finish_reason": "stop",
            "original_first": verdict,
            "rewrite_first": "rewrite" if verdict else None,
            "verdict": verdict,
            "prompt_version": "rewrite-1",
            "identity": "llm-tiny",
            "sampling": {"temperature": 0.0, "max_tokens": 256},
            "seed": SEED,
            "status": status,
        }
    )


def _write_quarantine(run: RunPaths, drafts: list[_Draft]) -> None:
    run.quarantine.mkdir()
    lines = [
        orjson.dumps(
            {
                "position": draft.row["position"],
                "uid": draft.row["uid"],
                "record": draft.record,
                "code": draft.fault[0],
                "message": draft.fault[1],
                "stage": "input",
                "attempts": 0,
            }
        )
        for draft in drafts
        if draft.fault is not None
    ]
    (run.quarantine / "part-000000.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _write_dataset(run: RunPaths, drafts: list[_Draft]) -> None:
    run.dataset.mkdir()
    kept = [draft.record for draft in drafts if draft.row["decision"] == "kept"]
    run.train("json").write_bytes(orjson.dumps(kept))


def _write_manifest(run: RunPaths, raw: Path, rows: list[dict[str, object]]) -> None:
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        entry = counts.setdefault(
            str(row["type"]), dict.fromkeys(("input", "kept", "dropped", "quarantined"), 0)
        )
        entry["input"] += 1
        entry[str(row["decision"])] += 1
    sha256 = hashlib.sha256(raw.read_bytes()).hexdigest()
    identity = {
        "kind": "question-reward",
        "weights_sha256": "ab" * 32,
        "dtype": "float32",
        "template_version": "1",
        "engine": "torch",
        "server_version": "0.1.0",
    }
    manifest = {
        "version": 1,
        "seed": SEED,
        "inputs": [{"path": str(raw), "sha256": sha256, "num_records": len(rows)}],
        "counts": counts,
        "identities": {
            name: identity | {"name": name.replace("_", "-"), "identity": f"{name}-tiny"}
            for name in ("question_reward", "answer_reward", "inner_llm")
        },
        "files": {"decisions.parquet": hashlib.sha256(run.decisions.read_bytes()).hexdigest()},
    }
    run.manifest.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _write_events(run: RunPaths, rng: random.Random) -> None:
    log = EventLog(run.events)
    log.write("run_started", resumed=False)
    for stage in RewardStage:
        for second in range(1, 31):
            rate = (
                40 if second < 4 else rng.randint(95, 120) if second < 20 else rng.randint(60, 80)
            )
            log.write(
                "answered",
                service=f"{stage}-reward",
                elapsed_s=second * 1.5,
                num_items=rate,
                num_calls=5,
                device_ms=rate * 9.5,
            )
        log.write(
            "canaries_compared",
            service=f"{stage}-reward",
            identity=f"{stage}-tiny",
            num_canaries=16,
            num_compared=16,
            num_moved=0 if stage is RewardStage.ANSWER else 15,
            rms=0.0 if stage is RewardStage.ANSWER else 0.03,
            largest=0.0 if stage is RewardStage.ANSWER else 0.08,
        )
        log.write("stage_finished", stage=stage.value, num_records=220, seconds=46.0)
