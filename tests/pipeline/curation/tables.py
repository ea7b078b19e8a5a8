"""Decisions in memory: rows say what matters to a test, the rest is filled in."""

import hashlib

import polars as pl

REASONS = {"kept": "kept", "text_only": "dropped"}

SCHEMA = {
    "position": pl.Int64,
    "uid": pl.String,
    "id": pl.String,
    "type": pl.String,
    "question_reward": pl.Float32,
    "answer_reward": pl.Float32,
    "question_rank": pl.Int64,
    "question_cut": pl.Int64,
    "answer_rank": pl.Int64,
    "answer_cut": pl.Int64,
    "stage": pl.String,
    "decision": pl.String,
    "reason": pl.String,
}


def decisions_table(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame([_row(index, row) for index, row in enumerate(rows)], schema=SCHEMA)


def _row(index: int, given: dict) -> dict:
    reason = given.get("reason", "kept")
    decision = REASONS.get(reason, "dropped" if reason.startswith("below") else "quarantined")
    filled = dict.fromkeys(SCHEMA) | {
        "position": index,
        "uid": hashlib.blake2b(str(index).encode(), digest_size=16).hexdigest(),
        "id": f'"{index:06d}"',
        "type": "conversation",
        "stage": "done" if reason == "kept" else "input",
        "decision": decision,
        "reason": reason,
    }
    return filled | given
