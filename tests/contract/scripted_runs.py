"""Runs of `a2l curate` against the scripted services: started, killed, resumed, and held against each other."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from math import floor
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from tests.contract.scripted_answers import review_key, rewrite_key, score_key
from tests.contract.servers import ROOT
from tests.pipeline.curation.small_world import record, write_world

DRIVER = (sys.executable, "-c", "from align2llava.pipeline.cli.app import app; app()")
NOTING_DRIVER = (sys.executable, str(Path(__file__).with_name("noting_driver.py")))
SECTIONS = {
    "question-reward": "question_reward",
    "answer-reward": "answer_reward",
    "inner-llm": "inner_llm",
}
QUESTION_KEEP, ANSWER_KEEP = "0.5", "0.6"
CONFIG = f"""
input: {{path: raw.json, images_root: images}}
endpoints:
  question_reward: {{url: "grpc://nowhere:1", batch_items: 8}}
  answer_reward: {{url: "grpc://nowhere:2", batch_items: 8}}
  inner_llm: {{url: "grpc://nowhere:3", batch_items: 8}}
selection: {{question_keep: {QUESTION_KEEP}, answer_keep: {ANSWER_KEEP}}}
run: {{quarantine_limit: 1, seed: 11}}
"""
NO_IMAGE = "0" * 64


def environ() -> dict[str, str]:
    """Returns the environment of a driver: none of our settings, and this checkout first."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
    return clean | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2"}


@dataclass(kw_only=True)
class Stub:
    """The process of the scripted services."""

    process: subprocess.Popen[str]
    urls: dict[str, dict[str, list[str]]]
    folder: Path
    log: Path = Path(os.devnull)
    num_scripts: int = 0

    def script(self, **script: object) -> None:
        """Starts over under a script, with a new log."""
        self.num_scripts += 1
        self.log = self.folder / f"answered-{self.num_scripts}.log"
        self.tell(do="script", log=str(self.log), **script)

    def tell(self, **command: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def state(self) -> dict[str, Any]:
        return self.tell(do="state")

    def answered(self) -> list[str]:
        """Returns the keys of all items that were answered well, in order."""
        return [line.split()[0] for line in self.log.read_text().splitlines()]

    def came(self, notes: Path) -> Counter[str]:
        """Returns how often the answer to each item came to the driver of these notes.

        Over REST nothing else is on a connection that breaks: there all that was answered came.
        """
        num_noted = Counter(notes.read_text().splitlines() if notes.exists() else ())
        answers = [line.split(" ") for line in self.log.read_text().splitlines()]
        came: Counter[str] = Counter()
        for key, name in {(key, name) for key, _, _, name in answers if name}:
            came[key] += num_noted[name]
        came.update(key for key, _, _, name in answers if not name)
        return +came

    def sets(self, transport: str, *, num_replicas: int = 1) -> list[str]:
        """Returns the `--set` options that point a config at these services."""
        sets = [
            f"endpoints.{SECTIONS[kind]}.url={json.dumps(urls[:num_replicas])}"
            for kind, urls in self.urls[transport].items()
        ]
        return [word for one in sets for word in ("--set", one)]


@contextmanager
def stub(folder: Path) -> Iterator[Stub]:
    """The scripted services, which end with this process; drivers have a scratch folder of their own."""
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("scripted_service.py"))],
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        patch.setenv("XDG_CACHE_HOME", str(folder / "scratch"))
        running = Stub(process=process, urls=json.loads(process.stdout.readline()), folder=folder)
        running.script()
        try:
            yield running
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


def records(num_records: int, *, start: int = 0) -> list[object]:
    """Returns records of every kind: turns, candidates, text only, equal ones, and two that are no records."""
    data: list[object] = []
    for number in range(start, start + num_records):
        candidates = [f"Number {number} is red.", f"Number {number} is blue as a sky."]
        one = record(number, turns=1 + number % 3, answer=candidates if number % 9 == 4 else None)
        for message in one["conversations"]:
            if message["value"] == "It is a thing of colour 0.":
                message["value"] = f"It is thing {number} of caf\u00e9 colour."
        if number % 31 == 7:
            del one["image"]
        data.append(one)
    data.insert(num_records // 3, data[num_records // 2])  # an equal record
    data.insert(num_records // 2, {"id": "broken", "conversations": []})
    data.append({**record(start), "id": "gone", "image": "gone.png"})
    return data


def write_records(folder: Path, data: Sequence[object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_world(folder, data, config=CONFIG)


def command(
    config: Path, run: Path, *, resume: str = "never", driver: Sequence[str] = DRIVER
) -> list[str]:
    words = ["curate", str(config), "--run-dir", str(run), "--resume", resume, "--json"]
    return [*driver, *words]


def notes_of(run: Path) -> Path:
    """Returns where the drivers of a run note what comes to them, see `noting_driver`."""
    return run.with_name(f"{run.name}.notes")


def a2l(words: Sequence[str], *, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Returns the finished process of a driver; one that hangs fails the test."""
    return subprocess.run(
        words,
        env=environ(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def curated(
    config: Path, run: Path, sets: Sequence[str], *, resume: str = "never"
) -> dict[str, Any]:
    """Returns the summary of a run that ended well; its driver notes what comes."""
    driver = (*NOTING_DRIVER, str(notes_of(run)))
    done = a2l([*command(config, run, resume=resume, driver=driver), *sets])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def killed(process: subprocess.Popen[str]) -> bool:
    """Returns whether a driver was killed; else it must have ended well."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), errors[-3000:]
    return process.returncode != 0


def started(words: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words,
        env=environ(),
        cwd=ROOT,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run left behind, for comparison."""

    dataset: bytes
    decisions: list[dict[str, Any]]
    rewrites: dict[tuple[str, int], dict[str, Any]]
    quarantined: dict[int, str] = field(default_factory=dict)


def finished(run: Path) -> Finished:
    """Returns the results of a run whose manifest is there and whose sums hold."""
    decisions = pq.read_table(run / "decisions.parquet").to_pylist()
    dataset = (run / "dataset" / "train.json").read_bytes()
    check_sums(run, decisions, num_written=len(json.loads(dataset)))
    quarantined = {
        line["position"]: line["code"]
        for path in sorted(run.glob("quarantine/part-*.jsonl"))
        for line in map(orjson.loads, path.read_bytes().splitlines())
    }
    return Finished(
        dataset=dataset, decisions=decisions, rewrites=rewrites(run), quarantined=quarantined
    )


def rewrites(run: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Returns the last row of each turn in the ledger."""
    rows = [row for path in sorted(run.glob("rewrites/part-*")) for row in _rows(path)]
    return {(row["uid"], row["turn"]): row for row in rows}


def check_sums(run: Path, decisions: list[dict[str, Any]], *, num_written: int) -> None:
    """Asserts that manifest, decisions, ranks, cuts and stored rewards agree."""
    manifest = json.loads((run / "manifest.json").read_bytes())
    counts = Counter((row["type"], row["decision"]) for row in decisions)
    for kind, of_kind in manifest["counts"].items():
        parts = {name: counts[kind, name] for name in ("kept", "dropped", "quarantined")}
        assert of_kind == {"input": sum(parts.values()), **parts}
    assert len(decisions) == sum(of_kind["input"] for of_kind in manifest["counts"].values())
    assert len(decisions) == sum(entry["num_records"] for entry in manifest["inputs"])
    assert num_written == sum(row["decision"] == "kept" for row in decisions)
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() == digest, name
    for stage, keep in (("question", QUESTION_KEEP), ("answer", ANSWER_KEEP)):
        for kind in manifest["counts"]:
            of_type = [row for row in decisions if row["type"] == kind]
            _check_stage(of_type, stage, keep)
        keys = [(row["uid"], row["turn"], row["candidate"]) for row in stored_scores(run, stage)]
        assert len(set(keys)) == len(keys)
        scored = {row["uid"] for row in decisions if row[f"{stage}_reward"] is not None}
        assert scored <= {uid for uid, _, _ in keys}


def _check_stage(rows: list[dict[str, Any]], stage: str, keep: str) -> None:
    scored = [row for row in rows if row[f"{stage}_reward"] is not None]
    cut = floor(Decimal(keep) * len(scored) + Decimal("0.5"))
    ranks = sorted(row[f"{stage}_rank"] for row in scored)
    assert ranks == list(range(1, len(scored) + 1))
    assert {row[f"{stage}_cut"] for row in scored} <= {cut}
    passed = [row for row in scored if row["stage"] != stage]
    assert all(row[f"{stage}_rank"] <= cut for row in passed)


def _rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def stored_scores(run: Path, stage: str) -> list[dict[str, Any]]:
    paths = sorted(run.glob(f"scores/{stage}/part-*.parquet"))
    return [row for path in paths for row in _rows(path)]


def stored_keys(run: Path, config: Path) -> set[str]:
    """Returns the keys of all answers that are on disk, under which the services log them."""
    folder = config.parent
    keys: set[str] = set()
    contents = _contents(folder)
    for stage in ("question", "answer"):
        for row in stored_scores(run, stage):
            keys.add(contents[row["uid"], row["turn"], row["candidate"]])
    for row in rewrites(run).values():
        original = (row["original_question"], row["original_answer"])
        if row["status"] in ("rewritten", "original", "gated"):
            keys.add(rewrite_key(*original))
        if row["verdict"] is not None:
            keys.add(review_key(*original))
    return keys


def _contents(folder: Path) -> dict[tuple[str, int, int], str]:
    """Returns the key of every item that could be scored, by uid, turn and candidate."""
    contents: dict[tuple[str, int, int], str] = {}
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "images").iterdir()
    }
    for one in json.loads((folder / "raw.json").read_bytes()):
        sha256 = hashes.get(one.get("image"), NO_IMAGE)
        uid = uid_of(one, sha256)
        values = [message["value"] for message in one["conversations"]]
        questions = [text.replace("<image>", "").strip() for text in values[::2]]
        contents[uid, -1, 0] = score_key(sha256, *questions)
        for turn, (question, answer) in enumerate(zip(questions, values[1::2], strict=True)):
            answers = answer if isinstance(answer, list) else [answer]
            for candidate, text in enumerate(answers):
                contents[uid, turn, candidate] = score_key(sha256, question, text)
    return contents


def uid_of(record: object, image_sha256: str) -> str:
    """Returns the uid of a record, as DESIGN words it."""
    canonical = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical + b"\0" + image_sha256.encode(), digest_size=16).hexdigest()
