import json
from collections import Counter
from pathlib import Path

import pytest

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.ahead.ablation import Ablation, ablate
from align2llava.pipeline.curation.ahead.ablation_figures import AblationRow, variants
from align2llava.pipeline.curation.ahead.ablation_text import ablation_text
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import EndpointError, RunError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import record, records, run, write_world

NAMES = ("whole", "no-question", "no-answer", "no-rewrite", "no-review", "random")


def data() -> list[dict[str, object]]:
    rejected = [record(200 + at, answer=f"It is so. [[reject]] {at}") for at in range(30)]
    return [*records(90), *rejected]


def ablated(
    config: Path,
    run_dir: Path,
    *sets: str,
    connector: FakeConnector | None = None,
    resume: Resume = Resume.NEVER,
    told: list[str] | None = None,
) -> Ablation:
    lines: list[str] = [] if told is None else told
    return ablate(
        load_config(config, sets=sets),
        run_dir=run_dir,
        resume=resume,
        connector=connector or FakeConnector(),
        api_key=None,
        progress=LineProgress(),
        tell=lines.append,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    write_world(folder, data())
    return folder


@pytest.fixture(scope="module")
def connector() -> FakeConnector:
    return FakeConnector()


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def ablation(world: Path, connector: FakeConnector, told: list[str]) -> Ablation:
    return ablated(world / "curate.yaml", world / "run", connector=connector, told=told)


@pytest.fixture
def rows(ablation: Ablation) -> dict[str, AblationRow]:
    return {row.variant: row for row in ablation.rows}


def dataset(world: Path, row: AblationRow) -> list[object]:
    return json.loads((world / "run" / row.file).read_bytes())


def test_nothing_is_scored_rewritten_or_reviewed_twice(
    ablation: Ablation, connector: FakeConnector
):
    asked = Counter(name for name in connector.calls.asked if not name.startswith("canary/"))
    assert set(asked.values()) == {1}
    total = sum(
        row.asked.question_rewards
        + row.asked.answer_rewards
        + row.asked.rewrites
        + row.asked.reviews
        for row in ablation.rows
    )
    assert total == len(asked)


def test_each_variant_has_a_row_and_a_dataset_of_its_size(
    world: Path, rows: dict[str, AblationRow]
):
    assert tuple(rows) == NAMES
    for row in rows.values():
        assert len(dataset(world, row)) == row.num_records == sum(row.types.values())
    assert rows["no-question"].file == "ablations/no-question.json"
    assert rows["whole"].file == "dataset/train.json"


def test_variant_without_a_stage_is_what_a_run_without_it_gives(
    world: Path, rows: dict[str, AblationRow], tmp_path: Path
):
    off = {
        "no-question": "selection.question=off",
        "no-answer": "selection.answer=off",
        "no-rewrite": "alignment.rewrite=off",
        "no-review": "alignment.review=off",
    }
    for name, setting in off.items():
        run(world / "curate.yaml", tmp_path / name, sets=(setting,))
        alone = (tmp_path / name / "dataset" / "train.json").read_bytes()
        assert (world / "run" / rows[name].file).read_bytes() == alone, name


def test_the_run_is_left_as_its_config_says(world: Path, ablation: Ablation, tmp_path: Path):
    assert ablation.num_input == 120
    run(world / "curate.yaml", tmp_path / "alone")
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (world / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert (world / "run" / "manifest.json").exists()


def test_sets_that_differ_by_alignment_hold_the_same_records(rows: dict[str, AblationRow]):
    whole = rows["whole"]
    for name in ("no-rewrite", "no-review"):
        assert rows[name].num_also_whole == rows[name].num_records == whole.num_records
    assert rows["no-rewrite"].num_turns_rewritten == 0
    assert rows["no-review"].num_turns_rewritten > whole.num_turns_rewritten > 0


def test_mean_rewards_are_known_for_every_set(rows: dict[str, AblationRow]):
    for row in rows.values():
        assert row.num_scored_question == row.num_scored_answer == row.num_records
        assert row.mean_question_reward is not None
        assert row.mean_answer_reward is not None
    question = {name: row.mean_question_reward or 0 for name, row in rows.items()}
    answer = {name: row.mean_answer_reward or 0 for name, row in rows.items()}
    assert question["whole"] > question["random"]
    assert answer["whole"] > answer["no-answer"]
    assert question["no-answer"] > question["no-question"]


def test_what_will_be_asked_is_told_before(told: list[str], rows: dict[str, AblationRow]):
    lines = {line.partition(":")[0]: line for line in told[:-1]}
    lacking = rows["no-question"].asked.answer_rewards
    assert "records lack answer rewards" in lines["no-question"]
    number = int(lines["no-question"].split()[1])
    assert 0 < number <= lacking
    number = int(lines["no-answer"].split()[1])
    assert 0 < number <= rows["no-answer"].asked.rewrites  # a record has a turn at least
    assert rows["no-answer"].asked.answer_rewards == 0
    assert "asks for nothing" in lines["no-review"]
    assert rows["no-review"].asked == rows["no-rewrite"].asked == rows["random"].asked


def test_ablation_of_a_finished_run_asks_only_for_what_it_lacks(world: Path, tmp_path: Path):
    connector = FakeConnector()
    run(world / "curate.yaml", tmp_path / "run", connector=connector)
    before = {name for name in connector.calls.asked if not name.startswith("canary/")}
    again = FakeConnector()
    config = world / "curate.yaml"
    found = ablated(config, tmp_path / "run", connector=again, resume=Resume.ALWAYS)
    assert not before & set(again.calls.asked)
    assert found.rows[0].asked.question_rewards == 0


def test_ablation_that_was_stopped_goes_on(world: Path, tmp_path: Path, ablation: Ablation):
    config, calls = world / "curate.yaml", Calls(fail_after=20)
    sets = tuple(
        f"endpoints.{name}.timeout_s=0.1"
        for name in ("question_reward", "answer_reward", "inner_llm")
    )
    with pytest.raises(EndpointError):
        ablated(config, tmp_path / "run", *sets, connector=FakeConnector(calls=calls))
    found = ablated(config, tmp_path / "run", *sets, resume=Resume.ALWAYS)
    assert [row.num_records for row in found.rows] == [row.num_records for row in ablation.rows]


def test_run_that_exists_is_refused_without_resume(world: Path, ablation: Ablation):
    assert ablation.rows
    with pytest.raises(RunError, match="exists"):
        ablated(world / "curate.yaml", world / "run")


def test_part_that_is_off_already_has_no_variant(world: Path):
    config = load_config(
        world / "curate.yaml", sets=("selection.question=off", "alignment.rewrite=off")
    )
    assert list(variants(config)) == ["no-answer"]


def test_table_names_every_variant_its_types_and_its_file(ablation: Ablation):
    text = ablation_text(ablation)
    for name in NAMES:
        assert f"\n  {name} " in text
    assert "complex_reasoning" in text
    assert text.endswith("/baselines/random.json")
