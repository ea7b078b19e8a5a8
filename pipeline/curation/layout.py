"""What lies where in a run directory, and the schema of each file. Reads and writes nothing.

    RUN/ config.resolved.yaml  events.jsonl  manifest.json
         scores/{question,answer}/part-*.parquet   SCORES
         decisions.parquet                         DECISIONS, one row per input record
         rewrites/part-*.parquet                   REWRITES, one row per kept turn
         quarantine/part-*.jsonl                   QuarantineLine
         dataset/train.json|train.jsonl  dataset/README.md
         baselines/  report/index.html  report/report.json  report/records.html  report/records/

Parts are immutable and named `part-NUMBER-CONTENT`: their order and the hash of their bytes. Of
rewards the earliest row of a key stands, of rewrites the latest. The manifest is
written last: everything else, the report of `curate` too, is written while there is none yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict

import pyarrow as pa

QUESTION_TURN = -1  # the `turn` of a question reward, which covers all human turns
UNKNOWN_TYPE = "unknown"  # the `type` of a record that cannot be parsed
NO_IMAGE_SHA256 = "0" * 64  # stands in a uid for a missing image


class RewardStage(StrEnum):
    """The two scored stages; also the names of the folders under `scores/`."""

    QUESTION = "question"
    ANSWER = "answer"


class Stage(StrEnum):
    """How far a record came."""

    INPUT = "input"
    QUESTION = "question"
    ANSWER = "answer"
    DONE = "done"


class Decision(StrEnum):
    """What became of a record."""

    KEPT = "kept"
    DROPPED = "dropped"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a record was kept or dropped; a quarantined one's reason is its error code instead."""

    KEPT = "kept"
    BELOW_QUESTION_CUT = "below_question_cut"
    BELOW_ANSWER_CUT = "below_answer_cut"
    TEXT_ONLY = "text_only"


class AlignStatus(StrEnum):
    """What became of a kept turn; only `rewritten` changes the dataset."""

    REWRITTEN = "rewritten"  # passed the gates, and the review (where on) chose it
    ORIGINAL = "original"  # passed the gates, the review chose the original
    GATED = "gated"  # a gate failed; the false `gate_*` column says which
    HARD_FORMAT = "hard_format"  # left alone: short answer, choice, yes/no, coordinates
    NOT_ALIGNED = "not_aligned"  # no verdict: not asked yet, or `error_code` says why


class Gate(StrEnum):
    """The deterministic gates, in the order they are tried; the ledger column is `gate_<name>`."""

    SOFT_FORMAT = "soft_format"
    PARSED = "parsed"
    FINISHED = "finished"
    NON_EMPTY = "non_empty"
    LENGTH = "length"
    NO_LEAK = "no_leak"
    IMAGE_TOKEN = "image_token"  # noqa: S105 (the name of a gate, no secret)
    NUMBERS = "numbers"

    @property
    def column(self) -> str:
        """Returns the name of the gate's ledger column: true passed, false failed, null not tried."""
        return f"gate_{self.value}"


_required = partial(pa.field, nullable=False)

DECISIONS = pa.schema(
    [
        _required("position", pa.int64()),
        pa.field("uid", pa.string()),
        pa.field("id", pa.string()),  # JSON text: 12 or "12"
        _required("type", pa.string()),
        pa.field("question_reward", pa.float32()),
        pa.field("answer_reward", pa.float32()),
        pa.field("question_rank", pa.int64()),  # 1 = best of its stratum
        pa.field("question_cut", pa.int64()),  # passes iff rank <= cut
        pa.field("answer_rank", pa.int64()),
        pa.field("answer_cut", pa.int64()),
        _required("stage", pa.string()),
        _required("decision", pa.string()),
        _required("reason", pa.string()),
    ]
)

SCORES = pa.schema(
    [
        _required("uid", pa.string()),
        _required("turn", pa.int32()),
        _required("candidate", pa.int32()),
        _required("reward", pa.float32()),
        _required("identity", pa.string()),
        _required("num_tokens", pa.int64()),
        _required("truncated", pa.bool_()),
        _required("device_ms", pa.float64()),
    ]
)

REWRITES = pa.schema(
    [
        _required("uid", pa.string()),
        _required("turn", pa.int32()),
        _required("original_question", pa.string()),  # without <image>, stripped
        _required("original_answer", pa.string()),
        pa.field("rewrite_question", pa.string()),
        pa.field("rewrite_answer", pa.string()),
        pa.field("unparsed", pa.string()),  # the completion, where it held no turn
        pa.field("finish_reason", pa.string()),
        *(pa.field(gate.column, pa.bool_()) for gate in Gate),
        pa.field("original_first", pa.string()),  # original|rewrite, null = not reviewed
        pa.field("rewrite_first", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("prompt_version", pa.string()),
        pa.field("identity", pa.string()),
        pa.field(
            "sampling", pa.struct([("temperature", pa.float64()), ("max_tokens", pa.int64())])
        ),
        pa.field("seed", pa.uint64()),
        _required("status", pa.string()),
        pa.field("error_code", pa.string()),
    ]
)


class QuarantineLine(TypedDict):
    """One line of `quarantine/part-*.jsonl`; `record` where it can be parsed, else `raw_base64`."""

    position: int
    uid: str | None
    record: NotRequired[object]
    raw_base64: NotRequired[str]
    stage: str  # input|question|answer
    code: str
    message: str
    attempts: (
        int  # how often a service was asked, all resumes together; 0 = the driver's own finding
    )


class TypeCounts(TypedDict):
    """Counts of one type; input = kept + dropped + quarantined."""

    input: int
    kept: int
    dropped: int
    quarantined: int


class InputEntry(TypedDict):
    """One input file of the manifest."""

    path: str
    sha256: str
    num_records: int


class Manifest(TypedDict):
    """`manifest.json`; absent = the run is not finished.

    `identities` maps question_reward, answer_reward and inner_llm (those that were asked) to the
    wire's ModelIdentity. `files` maps paths relative to RUN to sha256; report/, baselines/ and
    events.jsonl are not among them.
    """

    version: int
    seed: int
    inputs: list[InputEntry]
    counts: dict[str, TypeCounts]
    identities: dict[str, dict[str, str]]
    files: dict[str, str]


MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The paths of one run directory."""

    root: Path

    @property
    def config(self) -> Path:
        """Returns the resolved config: absolute paths, every default, no secret."""
        return self.root / "config.resolved.yaml"

    @property
    def events(self) -> Path:
        """Returns the append-only log of starts, stages and ends."""
        return self.root / "events.jsonl"

    @property
    def manifest(self) -> Path:
        """Returns the manifest, whose presence says that the run is finished."""
        return self.root / "manifest.json"

    @property
    def lease(self) -> Path:
        """Returns the file that a driver holds locked while it works here."""
        return self.root / ".lease"

    @property
    def decisions(self) -> Path:
        """Returns the table of what became of each input record."""
        return self.root / "decisions.parquet"

    @property
    def rewrites(self) -> Path:
        """Returns the folder of the rewrite ledger."""
        return self.root / "rewrites"

    @property
    def quarantine(self) -> Path:
        """Returns the folder of quarantined records."""
        return self.root / "quarantine"

    @property
    def dataset(self) -> Path:
        """Returns the folder of the curated dataset and its card."""
        return self.root / "dataset"

    @property
    def card(self) -> Path:
        """Returns the dataset card."""
        return self.dataset / "README.md"

    @property
    def baselines(self) -> Path:
        """Returns the folder of null baselines."""
        return self.root / "baselines"

    @property
    def report(self) -> Path:
        """Returns the self-contained report page."""
        return self.root / "report" / "index.html"

    @property
    def records_page(self) -> Path:
        """Returns the page that browses every record; it needs `record_parts` beside it."""
        return self.root / "report" / "records.html"

    @property
    def record_parts(self) -> Path:
        """Returns the folder of what the browsing page loads."""
        return self.root / "report" / "records"

    @property
    def report_json(self) -> Path:
        """Returns the report's figures."""
        return self.root / "report" / "report.json"

    def scores(self, stage: RewardStage) -> Path:
        """Returns the folder of one stage's rewards."""
        return self.root / "scores" / stage.value

    def train(self, dialect: str) -> Path:
        """Returns the curated dataset: train.json (dialect `json`) or train.jsonl (`jsonl`)."""
        return self.dataset / f"train.{dialect}"


def parts(folder: Path, suffix: str) -> Iterator[Path]:
    """Yields the parts of a folder in the order they were written; none where there is no folder."""
    yield from sorted(folder.glob(f"part-*.{suffix}"))
