"""Whole runs over drawn inputs: order changes nothing but order, ties go by the rule, bytes stay bytes."""

import gzip
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from align2llava.clients.api import LoadImage
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Group, GroupRewards, ItemReward, ScoreResponse
from tests.contract.scripted_answers import draw
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward, identity
from tests.pipeline.curation.run_files import decisions
from tests.pipeline.curation.small_world import CONFIG, NUM_IMAGES, run, write_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEED = 2**63 + 5
FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TiedReward(FakeReward):
    """Rewards of few values, by content alone, so that many records tie."""

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        answers = tuple(
            GroupRewards(
                items=tuple(
                    ItemReward(
                        id=item.id,
                        reward=draw("".join((*item.questions, item.answer or "")), 4) / 10,
                        num_tokens=9,
                    )
                    for item in group.items
                )
            )
            for group in groups
        )
        return ScoreResponse(model=await self.model(timeout_s=timeout_s), groups=answers)


@dataclass
class TiedConnector(FakeConnector):
    calls: Calls = field(default_factory=Calls)

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> FakeReward:
        return TiedReward(identity(kind), self.calls)


WORDS = st.text("abc", min_size=1, max_size=4)
ANSWERS = WORDS | st.lists(WORDS, min_size=1, max_size=3)


@st.composite
def llava_records(draw_: st.DrawFn) -> dict[str, object]:
    turns = draw_(st.lists(st.tuples(WORDS, ANSWERS), min_size=1, max_size=3))
    messages = [
        {"from": who, "value": value}
        for question, answer in turns
        for who, value in (("human", question), ("gpt", answer))
    ]
    one: dict[str, object] = {"id": draw_(st.integers(0, 3)), "conversations": messages}
    if draw_(st.integers(0, 9)):
        one["image"] = f"{draw_(st.integers(0, NUM_IMAGES))}.png"  # the last one is missing
    return one


def plain(data: bytes) -> bytes:
    return data


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKINGS = {".json": plain, ".jsonl": plain, ".gz": gzip.compress, ".zst": zstd}


def curated(folder: Path, text: str, *, name: str = "raw.json", sets: Sequence[str] = ()) -> Path:
    """Returns the run directory of a curation of `text`."""
    write_images(folder / "images")
    (folder / name).write_bytes(PACKINGS[Path(name).suffix](text.encode()))
    (folder / "curate.yaml").write_text(CONFIG.replace("raw.json", name))
    sets = (f"run.seed={SEED}", *sets)
    run(folder / "curate.yaml", folder / "run", connector=TiedConnector(), sets=sets)
    return folder / "run"


def written(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "dataset" / "train.json").read_bytes())


def tie_key(uid: str) -> bytes:
    key = SEED.to_bytes(8, "little")
    return hashlib.blake2b(bytes.fromhex(uid), key=key, digest_size=8).digest()


def check_selection(rows: list[dict[str, Any]], stage: str, *, keep: str) -> None:
    """Asserts ranks, cuts and who passed, as DESIGN words them."""
    scored: defaultdict[object, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row[f"{stage}_reward"] is not None:
            scored[row["type"]].append(row)
    for of_stratum in scored.values():
        half = Decimal(keep) * len(of_stratum) + Decimal("0.5")
        cut = int(half.to_integral_value(rounding=ROUND_FLOOR))
        order = sorted(
            of_stratum,
            key=lambda row: (-row[f"{stage}_reward"], tie_key(row["uid"]), row["position"]),
        )
        assert [row[f"{stage}_rank"] for row in order] == list(range(1, len(order) + 1))
        assert {row[f"{stage}_cut"] for row in order} == {cut}
        assert all((row["stage"] != stage) == (at < cut) for at, row in enumerate(order))


def check_answer_rewards(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Asserts that an answer reward is the float32 of the mean of each turn's best candidate."""
    paths = sorted(run_dir.glob("scores/answer/part-*"))
    stored = [row for path in paths for row in pq.read_table(path).to_pylist()]
    best: defaultdict[object, dict[int, float]] = defaultdict(dict)
    for row in stored:
        turns = best[row["uid"]]
        turns[row["turn"]] = max(row["reward"], turns.get(row["turn"], -np.inf))
    for row in rows:
        if row["answer_reward"] is not None:
            values = [np.float64(value) for _, value in sorted(best[row["uid"]].items())]
            assert row["answer_reward"] == np.float32(sum(values) / len(values))


@FEW
@given(
    data=st.lists(llava_records(), min_size=1, max_size=40),
    keep=st.sampled_from(["0.29", "0.5", "0.75"]),
)
def test_ties_at_the_cut_obey_the_rule_and_quotas_are_exact(
    data: list[dict[str, object]], keep: str
):
    sets = (f"selection.question_keep={keep}", f"selection.answer_keep={keep}")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = curated(Path(folder), json.dumps(data), sets=sets)
        rows = decisions(run_dir)
        check_selection(rows, "question", keep=keep)
        check_selection(rows, "answer", keep=keep)
        check_answer_rewards(run_dir, rows)
        assert len(written(run_dir)) == sum(row["decision"] == "kept" for row in rows)


OF_CONTENT = ("uid", "type", "question_reward", "question_rank", "question_cut", "stage")
OF_CONTENT += ("answer_reward", "answer_rank", "answer_cut", "decision", "reason")


@FEW
@given(
    data=st.lists(llava_records(), min_size=1, max_size=40).flatmap(
        lambda data: st.tuples(st.just(data), st.permutations(data))
    )
)
def test_order_of_the_input_changes_nothing_but_the_order(
    data: tuple[list[dict[str, object]], list[dict[str, object]]],
):
    found: list[tuple[Counter[object], Counter[str]]] = []
    for one in data:
        with tempfile.TemporaryDirectory() as folder:
            run_dir = curated(Path(folder), json.dumps(one), sets=("selection.question_keep=0.6",))
            rows = decisions(run_dir)
            contents: Counter[object] = Counter(
                tuple(row[name] for name in OF_CONTENT) for row in rows
            )
            found.append((contents, Counter(map(json.dumps, written(run_dir)))))
            assert [row["id"] for row in rows] == [json.dumps(record["id"]) for record in one]
            kept = [row["id"] for row in rows if row["decision"] == "kept"]
            assert [json.dumps(record["id"]) for record in written(run_dir)] == kept
    assert found[0] == found[1]


BLANKS = st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"])
NUMBERS = st.sampled_from(
    ["0", "-0", "7", "1.0", "1e2", "1E+2", "-0.0", "0.10", "9007199254740993", "1" + "0" * 30]
)
CHARACTERS = st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"])
STRINGS = st.builds(
    "".join,
    st.lists(
        CHARACTERS | st.sampled_from(["\\n", "\\u00e9", "\\/", '\\"', "\\ud83d\\ude00", "\u2028"]),
        min_size=1,
        max_size=6,
    ),
).map('"x{}"'.format)
SENTENCES = STRINGS.map(lambda text: f'{text[:-1]}."')  # others are not rewritten


@st.composite
def spelled_records(draw_: st.DrawFn) -> str:
    """Returns the text of a usable record, with blanks, numbers, escapes and keys as nobody would expect."""

    def blank() -> str:
        return draw_(BLANKS)

    def spelled(members: dict[str, str]) -> str:
        names = draw_(st.permutations(sorted(members)))
        pairs = [f'{blank()}"{name}"{blank()}:{blank()}{members[name]}{blank()}' for name in names]
        return "{" + ",".join(pairs) + "}"

    messages = [
        spelled({"from": f'"{who}"', "value": draw_(text), "n": draw_(NUMBERS)})
        for _ in range(draw_(st.integers(1, 2)))
        for who, text in (("human", STRINGS), ("gpt", SENTENCES))
    ]
    conversations = f"[{blank()}{','.join(messages)}{blank()}]"
    members = {
        "id": draw_(NUMBERS | STRINGS),
        "image": f'"{draw_(st.integers(0, NUM_IMAGES - 1))}.png"',
        "conversations": conversations,
        "extra": f"[{draw_(NUMBERS)},{blank()}{draw_(STRINGS)}, null,true,{{}}]",
    }
    return spelled(members)


NO_REWRITE = ("alignment.rewrite=off", "selection.answer=off", "selection.stratum=none")


@FEW
@given(
    texts=st.lists(spelled_records(), min_size=1, max_size=12),
    between=st.sampled_from([",", " ,\n", ",\r\n\t"]),
    keep=st.sampled_from(["1", "0.5"]),
    packing=st.sampled_from(["", ".gz", ".zst"]),
)
def test_untouched_records_of_an_array_change_no_byte(
    texts: list[str], between: str, keep: str, packing: str
):
    sets = (*NO_REWRITE, f"selection.question_keep={keep}")
    text = f"[ {between.join(texts)} ]\n"
    with tempfile.TemporaryDirectory() as folder:
        run_dir = curated(Path(folder), text, name=f"raw.json{packing}", sets=sets)
        kept = [row["position"] for row in decisions(run_dir) if row["decision"] == "kept"]
        if not kept:
            assert written(run_dir) == []
            return
        joined = between if len(texts) > 1 else ",\n"
        expected = f"[ {joined.join(texts[at] for at in kept)} ]\n"
        assert (run_dir / "dataset" / "train.json").read_bytes() == expected.encode()


@FEW
@given(
    texts=st.lists(spelled_records(), min_size=1, max_size=12),
    keep=st.sampled_from(["1", "0.5"]),
    packing=st.sampled_from(["", ".gz", ".zst"]),
)
def test_untouched_lines_change_no_byte(texts: list[str], keep: str, packing: str):
    lines = [text.replace("\n", " ").replace("\r", " ") for text in texts]
    sets = (*NO_REWRITE, f"selection.question_keep={keep}")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = curated(Path(folder), "\n".join(lines), name=f"raw.jsonl{packing}", sets=sets)
        kept = [row["position"] for row in decisions(run_dir) if row["decision"] == "kept"]
        expected = "".join(lines[at] + "\n" for at in kept)
        assert (run_dir / "dataset" / "train.jsonl").read_bytes() == expected.encode()


@FEW
@given(texts=st.lists(spelled_records(), min_size=1, max_size=12))
def test_rewritten_records_change_in_their_texts_alone(texts: list[str]):
    keep_all = ("selection.question_keep=1", "selection.answer_keep=1")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = curated(Path(folder), f"[{','.join(texts)}]", sets=keep_all)
        data = (run_dir / "dataset" / "train.json").read_bytes()
        for before, after in zip(texts, as_spelled(data), strict=True):
            assert without_texts(after) == without_texts(as_spelled(before))
            assert list(after) == list(json.loads(before))
            assert all(m["value"][:4] in ("Say:", "So: ") for m in after["conversations"])


def as_spelled(text: str | bytes) -> Any:
    return json.loads(text, parse_int=str, parse_float=str)


def without_texts(record: dict[str, object]) -> dict[str, object]:
    messages = record["conversations"]
    assert isinstance(messages, list)
    bare = [{**message, "value": None} for message in messages]
    return {**record, "conversations": bare}
