"""Gathers everything that a run knows of one record. Writes nothing."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from align2llava.pipeline.curation.figures.decisions import passed_at
from align2llava.pipeline.curation.input.records import Record
from align2llava.pipeline.curation.layout import Decision, Gate, RewardStage
from align2llava.pipeline.curation.results.explanation import (
    MAX_RAW_CHARS,
    ExplainedFault,
    ExplainedRewrite,
    ExplainedTurn,
    Explanation,
    Standing,
    StoredReward,
    why,
)
from align2llava.pipeline.curation.results.record_key import find_record
from align2llava.pipeline.curation.run.finished import (
    FinishedRun,
    open_run,
    quarantine_lines,
    rewrite_ledger,
    score_rows,
)


def explain(run_dir: Path, key: str, *, is_id: bool = False) -> Explanation:
    """Returns what is known of a record, by position, by id, by uid or by an unambiguous start of it.

    `is_id` = the key is an id and nothing else.

    Raises:
        RunError: RUN is no finished run, or the key fits no record or several.
        InputError: an input cannot be read.
    """
    run = open_run(run_dir)
    found = find_record(run.decisions, key, is_id=is_id)
    row = run.decisions.row(found.position, named=True)
    position, uid = int(row["position"]), row["uid"]
    same = run.decisions.filter(pl.col("uid") == uid)["position"].to_list() if uid else []
    standings = tuple(_standings(run, row))
    fault = _fault(run, position) if row["decision"] == Decision.QUARANTINED else None
    outcome, raw = _text(run, position)
    return Explanation(
        position=position,
        also_at=tuple(other for other in same if other != position),
        uid=uid,
        id=row["id"],
        type=row["type"],
        image=outcome.image if outcome else None,
        turns=tuple(_turns(outcome)),
        raw=None if outcome else raw,
        stage=row["stage"],
        decision=row["decision"],
        reason=row["reason"],
        why=why(row["decision"], row["reason"], standings=standings, fault=fault),
        standings=standings,
        rewards=tuple(_rewards(run, uid)) if uid else (),
        rewrites=tuple(_rewrites(run, uid)) if uid else (),
        fault=fault,
        note=found.note,
    )


def _standings(run: FinishedRun, row: dict[str, object]) -> Iterator[Standing]:
    of_stratum = run.decisions
    if run.config.selection.stratum == "type":
        of_stratum = of_stratum.filter(pl.col("type") == row["type"])
    for stage in RewardStage:
        if row[f"{stage}_rank"] is None:
            continue
        ranked = of_stratum.filter(pl.col(f"{stage}_rank").is_not_null())
        passed = ranked.filter(passed_at(stage))[f"{stage}_reward"].to_list()
        yield Standing(
            stage=stage,
            reward=float(str(row[f"{stage}_reward"])),
            rank=int(str(row[f"{stage}_rank"])),
            cut=int(str(row[f"{stage}_cut"])),
            num_scored=ranked.height,
            lowest_passed=min(passed, default=None),
        )


def _fault(run: FinishedRun, position: int) -> ExplainedFault | None:
    lines = [line for line in quarantine_lines(run.paths) if line["position"] == position]
    if not lines:
        return None
    last = lines[-1]
    return ExplainedFault(
        stage=last["stage"],
        code=last["code"],
        message=last["message"],
        attempts=last["attempts"],
    )


def _text(run: FinishedRun, position: int) -> tuple[Record | None, str]:
    scan = run.scan()
    ((_, raw),) = scan.raws(pl.Series("position", [position]))
    outcome = scan.corpus.outcome(raw)
    shown = raw[: 4 * MAX_RAW_CHARS].decode(errors="replace")[:MAX_RAW_CHARS]
    return outcome if isinstance(outcome, Record) else None, shown


def _turns(record: Record | None) -> Iterator[ExplainedTurn]:
    for turn in record.turns if record else ():
        yield ExplainedTurn(question=turn.question, answers=turn.answers)


def _rewards(run: FinishedRun, uid: str) -> Iterator[StoredReward]:
    for stage in RewardStage:
        rows = score_rows(run.paths, stage)
        if rows is None:
            continue
        of_uid = rows.filter(pl.col("uid") == uid).collect()
        stored = of_uid.unique(["turn", "candidate"], keep="first").sort("turn", "candidate")
        for row in stored.iter_rows(named=True):
            yield StoredReward(
                stage=stage,
                turn=row["turn"],
                candidate=row["candidate"],
                reward=row["reward"],
                num_tokens=row["num_tokens"],
                truncated=row["truncated"],
                identity=row["identity"],
            )


def _rewrites(run: FinishedRun, uid: str) -> Iterator[ExplainedRewrite]:
    ledger = rewrite_ledger(run.paths)
    if ledger is None:
        return
    of_uid = ledger.filter(pl.col("uid") == uid).collect()
    last = of_uid.unique("turn", keep="last", maintain_order=True).sort("turn")
    for row in last.iter_rows(named=True):
        yield ExplainedRewrite(
            turn=row["turn"],
            status=row["status"],
            original_question=row["original_question"],
            original_answer=row["original_answer"],
            rewrite_question=row["rewrite_question"],
            rewrite_answer=row["rewrite_answer"],
            unparsed=row["unparsed"],
            gates={gate.value: row[gate.column] for gate in Gate},
            original_first=row["original_first"],
            rewrite_first=row["rewrite_first"],
            verdict=row["verdict"],
            error_code=row["error_code"],
            identity=row["identity"],
            prompt_version=row["prompt_version"],
        )
