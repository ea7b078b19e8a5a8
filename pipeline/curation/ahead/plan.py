"""What a run would take: a sample is curated, its calls are metered, and the rest is extrapolated.

Asks for the sample and for nothing else; leaves nothing behind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from align2llava.pipeline.config.schema import Config, Keeps
from align2llava.pipeline.curation.ahead.plan_figures import (
    COSTS,
    FLAGS,
    PlanStage,
    StageEstimate,
    StratumPlan,
    estimates,
    share_of_image,
)
from align2llava.pipeline.curation.ahead.sample import (
    Sample,
    Sampled,
    Stratum,
    draw_sample,
    write_sample,
)
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.endpoints.metering import CallCost, MeteredConnector
from align2llava.pipeline.curation.endpoints.opening import Connector
from align2llava.pipeline.curation.figures.decisions import passed_at
from align2llava.pipeline.curation.input.images import find_image
from align2llava.pipeline.curation.layout import Decision, RewardStage, Stage
from align2llava.pipeline.curation.run.finished import open_run
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.curation.selection.contenders import ONE_STRATUM
from align2llava.pipeline.curation.selection.warnings import starved
from align2llava.pipeline.process.progress import ProgressView

_STAGE_OF_KIND = {
    "question-reward": PlanStage.QUESTION,
    "answer-reward": PlanStage.ANSWER,
    "rewrite": PlanStage.REWRITE,
    "review": PlanStage.REVIEW,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the whole input would take, stage by stage; off stages are left out."""

    num_input: int
    num_sampled: int
    seconds: float  # the sample took
    stages: list[StageEstimate]
    warnings: list[str]


def plan(
    config: Config,
    *,
    size: int,
    connector: Connector,
    api_key: str | None,
    progress: ProgressView,
) -> Plan:
    """Curates a sample of `size` records and returns what the whole input would take.

    Raises:
        PipelineError: as `curate` says.
    """
    sample = draw_sample(config, size=size, progress=progress)
    meter = _Recorder()
    with TemporaryDirectory(prefix="a2l-plan-") as folder:
        run_dir = Path(folder) / "run"
        summary = curate(
            write_sample(sample, Path(folder), config=config),
            run_dir=run_dir,
            resume=Resume.NEVER,
            connector=MeteredConnector(connector=connector, meter=meter),
            api_key=api_key,
            progress=progress,
        )
        decisions = open_run(run_dir).decisions
    rows = _rows(decisions, _costs(meter.calls), sample=sample, config=config)
    strata = list(dict.fromkeys(one.stratum for one in sample.records))
    return Plan(
        num_input=sample.num_input,
        num_sampled=len(sample.records),
        seconds=summary.seconds,
        stages=estimates(
            [
                rows.filter(pl.Series([one.stratum == stratum for one in sample.records]))
                for stratum in strata
            ],
            [_stratum_plan(stratum, sample, config) for stratum in strata],
            batch_items=_batch_items(config),
            seed=config.run.seed,
        ),
        warnings=list(starved(_num_scored(sample, config), config.selection)),
    )


def _num_scored(sample: Sample, config: Config) -> dict[str, int]:
    """Returns how many records of the whole input are scored at most, by stratum of the selection."""
    numbers: dict[str, int] = {}
    for stratum, number in sample.num_records.items():
        name = stratum.type if config.selection.stratum == "type" else ONE_STRATUM
        if not stratum.is_text_only:
            numbers[name] = numbers.get(name, 0) + number
    return numbers


@dataclass(slots=True)
class _Recorder:
    """A `Meter` that lets everything go out and keeps what it cost."""

    calls: list[CallCost] = field(default_factory=list[CallCost])

    async def begin(self, *, ends_begun: bool) -> None:
        """See `Meter.begin`."""

    def end(self, cost: CallCost | None) -> None:
        """See `Meter.end`."""
        if cost is not None:
            self.calls.append(cost)


def _costs(calls: Iterable[CallCost]) -> dict[str, dict[str, float]]:
    """Returns, by uid, the sums of what its items cost; item ids begin with the uid.

    A service's wall time, from its first call to its last answer, is shared by the time that each
    item was under way.
    """
    calls = list(calls)
    costs: dict[str, dict[str, float]] = {}
    pace = _pace(calls)
    for call in calls:
        stage = _STAGE_OF_KIND[call.kind]
        under_way_s = (call.ended_s - call.started_s) / max(1, len(call.items))
        for item in call.items:
            of_record = costs.setdefault(item.id.partition("/")[0], {})
            for measure, value in (
                ("items", 1.0),
                ("tokens", item.num_tokens),
                ("device_s", item.device_ms / 1000),
                ("wall_s", under_way_s * pace[_service(stage)]),
            ):
                name = f"{stage}_{measure}"
                of_record[name] = of_record.get(name, 0.0) + value
    return costs


def _pace(calls: Iterable[CallCost]) -> dict[str, float]:
    """Returns, by service, its wall time for each second that a call was under way."""
    spans: dict[str, tuple[float, float, float]] = {}
    for call in calls:
        name = _service(_STAGE_OF_KIND[call.kind])
        first, last, busy_s = spans.get(name, (call.started_s, call.ended_s, 0.0))
        busy_s += call.ended_s - call.started_s
        spans[name] = (min(first, call.started_s), max(last, call.ended_s), busy_s)
    return {name: (last - first) / (busy_s or 1.0) for name, (first, last, busy_s) in spans.items()}


def _service(stage: PlanStage) -> str:
    return stage.value if stage in (PlanStage.QUESTION, PlanStage.ANSWER) else "inner-llm"


def _rows(
    decisions: pl.DataFrame,
    costs: Mapping[str, Mapping[str, float]],
    *,
    sample: Sample,
    config: Config,
) -> pl.DataFrame:
    """Returns FLAGS and COSTS of each sampled record, in the order of the sample."""
    copies = decisions.select("uid", pl.len().over("uid"))  # equal records are asked for once
    spent = [
        {name: costs.get(uid or "", {}).get(name, 0.0) / num for name in COSTS}
        for uid, num in copies.iter_rows()
    ]
    is_text_only = pl.Series(
        "text_only", [one.stratum.is_text_only for one in sample.records], dtype=pl.Boolean
    )
    flags = decisions.with_columns(is_text_only).select(_flags(config))
    table = flags.hstack(pl.DataFrame(spent, schema=dict.fromkeys(COSTS, pl.Float64)))
    shares = [_image_shares(one, sample, config) for one in sample.records]
    for stage, reaches in ((PlanStage.QUESTION, "usable"), (PlanStage.ANSWER, "question_passed")):
        of_stage = pl.Series([share[stage] for share in shares], dtype=pl.Float64)
        sent = pl.when(reaches).then(of_stage).otherwise(0.0)
        table = table.with_columns(sent.alias(f"{stage}_image_bytes"))
    return table


def _flags(config: Config) -> list[pl.Expr]:
    usable = (pl.col("stage") != Stage.INPUT) & ~pl.col("text_only")
    passed = passed_at(RewardStage.QUESTION).fill_null(value=False)
    found = {
        "usable": usable,
        "question_scored": pl.col("question_rank").is_not_null(),
        "question_passed": passed if config.selection.question else usable,
        "answer_scored": pl.col("answer_rank").is_not_null(),
        "kept": pl.col("decision") == Decision.KEPT,
    }
    return [found[name].alias(name) for name in FLAGS]


def _image_shares(one: Sampled, sample: Sample, config: Config) -> dict[PlanStage, float]:
    """Returns, for each stage, the bytes of a record's image that this record stands for."""
    if one.image is None:
        return {PlanStage.QUESTION: 0.0, PlanStage.ANSWER: 0.0}
    images = config.input
    path = find_image(one.image, root=images.images_root, link_roots=images.link_roots)
    num_bytes = path.stat().st_size if isinstance(path, Path) else 0  # else nothing is sent
    num_of_image = sample.num_of_image[one.image]
    keep = _stratum_plan(one.stratum, sample, config).question_keep
    return {
        PlanStage.QUESTION: num_bytes * share_of_image(num_of_image, 1.0),
        PlanStage.ANSWER: num_bytes * share_of_image(num_of_image, 1.0 if keep is None else keep),
    }


def _stratum_plan(stratum: Stratum, sample: Sample, config: Config) -> StratumPlan:
    selection = config.selection
    is_alone = selection.stratum == "type"
    name = stratum.type if is_alone else ONE_STRATUM

    def keep(keeps: Keeps) -> float:
        return float(keeps.get(name, 0) if isinstance(keeps, dict) else keeps)

    return StratumPlan(
        num_records=sample.num_records[stratum],
        question_keep=keep(selection.question_keep) if selection.question else None,
        answer_keep=keep(selection.answer_keep) if selection.answer else None,
        is_alone=is_alone,
    )


def _batch_items(config: Config) -> dict[PlanStage, int]:
    selection, alignment, endpoints = config.selection, config.alignment, config.endpoints
    stages = (
        (PlanStage.QUESTION, selection.question, endpoints.question_reward),
        (PlanStage.ANSWER, selection.answer, endpoints.answer_reward),
        (PlanStage.REWRITE, alignment.rewrite, endpoints.inner_llm),
        (PlanStage.REVIEW, alignment.rewrite and alignment.review, endpoints.inner_llm),
    )
    return {
        stage: endpoint.batch_items
        for stage, is_on, endpoint in stages
        if is_on and endpoint is not None
    }
