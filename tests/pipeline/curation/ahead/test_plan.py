import math
from pathlib import Path

import pytest

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.ahead.plan import Plan, plan
from align2llava.pipeline.curation.ahead.plan_figures import PlanStage, StageEstimate
from align2llava.pipeline.curation.ahead.plan_text import plan_text
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.endpoints.budget import Budget, BudgetMeter
from align2llava.pipeline.curation.endpoints.metering import MeteredConnector
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.small_world import NUM_IMAGES, record, records, write_world

NUM_RECORDS = 400


def planned(
    config: Path, size: int, *sets: str, connector: FakeConnector | None = None
) -> tuple[Plan, dict[PlanStage, StageEstimate]]:
    found = plan(
        load_config(config, sets=sets),
        size=size,
        connector=connector or FakeConnector(),
        api_key=None,
        progress=LineProgress(),
    )
    return found, {one.stage: one for one in found.stages}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("plan"), records(NUM_RECORDS))


@pytest.fixture(scope="module")
def actual(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the whole run asks: items by stage, and calls."""
    connector = FakeConnector()
    curate(
        load_config(config, sets=("run.canaries=0",)),
        run_dir=tmp_path_factory.mktemp("actual") / "run",
        resume=Resume.NEVER,
        connector=connector,
        api_key=None,
        progress=LineProgress(),
    )
    asked = connector.calls.asked
    return {
        "question": sum("/-1/" in name for name in asked),
        "answer": sum(name.count("/") == 2 and "/-1/" not in name for name in asked),
        "rewrite": sum(name.count("/") == 1 and not name.startswith("review") for name in asked),
        "review": sum(name.startswith("review") for name in asked),
        "calls": len(connector.calls.batches),
    }


def test_plan_spends_its_sample_and_no_more(config: Path):
    connector = FakeConnector()
    found, stages = planned(config, 30, connector=connector)
    assert found.num_sampled == 30
    assert found.num_input == NUM_RECORDS
    assert sum("/-1/" in name for name in connector.calls.asked) == 30
    assert not any(name.startswith("canary") for name in connector.calls.asked)
    assert sum(int(one.items.sample) for one in stages.values()) == len(connector.calls.asked)


def test_what_the_run_asks_lies_within_the_intervals(config: Path, actual: dict[str, int]):
    _, stages = planned(config, 100)
    for stage, estimate in stages.items():
        slack = 0.5 * 2 * 5 + 1  # quotas of two strata are rounded, a record has 3 turns at most
        items = estimate.items
        assert items.low - slack <= actual[stage.value] <= items.high + slack, stage
    assert stages[PlanStage.QUESTION].items.value == NUM_RECORDS
    calls = sum(one.calls.value for one in stages.values())
    assert calls == pytest.approx(actual["calls"], rel=0.2)


def test_plan_of_everything_is_the_run(config: Path, actual: dict[str, int]):
    _, stages = planned(config, NUM_RECORDS)
    assert stages[PlanStage.QUESTION].items.value == actual["question"]
    for stage in (PlanStage.ANSWER, PlanStage.REWRITE, PlanStage.REVIEW):
        assert stages[stage].items.value == pytest.approx(actual[stage.value], abs=4)


def test_answer_stage_follows_the_question_keep(config: Path):
    _, few = planned(config, 100, "selection.question_keep=0.1")
    _, many = planned(config, 100, "selection.question_keep=0.5")
    assert few[PlanStage.ANSWER].records.value == pytest.approx(0.1 * NUM_RECORDS)
    assert many[PlanStage.ANSWER].records.value == pytest.approx(0.5 * NUM_RECORDS)


def test_each_image_is_counted_once_for_each_service(config: Path):
    _, stages = planned(config, NUM_RECORDS)
    files = (config.parent / "images").iterdir()
    total = sum(path.stat().st_size for path in files)
    assert stages[PlanStage.QUESTION].image_bytes.value == pytest.approx(total)
    # Of an image that dozens of records have, some record comes to the answer stage.
    assert stages[PlanStage.ANSWER].image_bytes.value == pytest.approx(total, rel=0.1)
    assert NUM_RECORDS > 50 * NUM_IMAGES


def test_device_time_is_what_a_whole_run_spends(config: Path, tmp_path: Path):
    meter = BudgetMeter(Budget(), go_on="")
    curate(
        load_config(config, sets=("run.canaries=0", "alignment.rewrite=off")),
        run_dir=tmp_path / "run",
        resume=Resume.NEVER,
        connector=MeteredConnector(connector=FakeConnector(), meter=meter),
        api_key=None,
        progress=LineProgress(),
    )
    found, _ = planned(config, 200)
    assert sum(one.device_s.value for one in found.stages) == pytest.approx(
        meter.gpu_seconds, rel=0.1
    )


def test_stages_that_are_off_are_left_out(config: Path):
    found, _ = planned(config, 10, "selection.question=off", "alignment.review=off")
    assert [one.stage for one in found.stages] == [PlanStage.ANSWER, PlanStage.REWRITE]
    off = ("selection.question=off", "selection.answer=off", "alignment.rewrite=off")
    nothing, _ = planned(config, 10, *off)
    assert "nothing: no stage asks a service" in plan_text(nothing)


def test_broken_and_text_only_records_cost_nothing_at_the_reward_stages(tmp_path: Path):
    text_only = [
        {key: value for key, value in record(number).items() if key != "image"}
        for number in range(100, 150)
    ]
    broken = [{"id": number} for number in range(50)]
    config = write_world(tmp_path, [*records(100), *text_only, *broken])
    _, stages = planned(config, 200, "input.text_only=keep", "selection.question_keep=1")
    assert stages[PlanStage.QUESTION].items.value == 100
    assert stages[PlanStage.ANSWER].records.value == 100
    assert stages[PlanStage.REWRITE].records.value == pytest.approx(50 + 30)


def test_input_without_a_record_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="holds no record"):
        planned(write_world(tmp_path, []), 10)


def test_types_too_small_to_keep_a_record_are_named(tmp_path: Path):
    data = [{**record(number), "type": f"t{number}"} for number in range(3)]
    found, _ = planned(write_world(tmp_path, [*data, *records(9)]), 10)
    warning = found.warnings[0]
    assert "question stage: 3 of 5: t0 (1 x 0.3), t1 (1 x 0.3), t2 (1 x 0.3);" in warning
    assert f"warning: {warning}" in plan_text(found)


def test_table_shows_each_stage_with_an_interval(config: Path):
    found, stages = planned(config, 60)
    text = plan_text(found)
    assert "60 of 400 records (15.0 %) were curated" in text
    for name in ("question", "answer", "rewrite", "review", "all"):
        assert f"\n  {name} " in text
    calls = stages[PlanStage.QUESTION].calls
    assert calls.value == math.ceil(NUM_RECORDS / 8)
    assert f"{calls.value:.0f}" in text
