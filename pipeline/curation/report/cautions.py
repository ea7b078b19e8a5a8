"""What a reader of a run must be warned of, in a line each: models made for other data, rewrites lost. Pure."""

from collections.abc import Iterator, Mapping

from align2llava.pipeline.curation.figures.rewrites import RewriteFigures
from align2llava.pipeline.curation.layout import AlignStatus, Gate
from align2llava.pipeline.curation.wording import count, words

LOST_SHARE = 0.5  # of the rewrites, from which on it is said what to do
MAX_SHOWN_PURPOSE = 200


def model_cautions(identities: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Returns what each model's card says that it is for; models without one are left out.

    `identities`: the manifest's, by endpoint; those of a run before cards have no `purpose`.
    """
    by_purpose: dict[str, list[str]] = {}
    for endpoint, model in identities.items():
        purpose = model.get("purpose", "")[:MAX_SHOWN_PURPOSE]
        if purpose:
            by_purpose.setdefault(purpose, []).append(words(endpoint))
    return [
        f"{_listed(names)}: the model's card says it is for {purpose}"
        for purpose, names in by_purpose.items()
    ]


def rewrite_line(rewrites: RewriteFigures) -> str:
    """Returns what became of the turns that were sent to the inner LLM, with the gates that failed."""
    num = rewrites.statuses.get
    told = [
        f"{count(num(AlignStatus.REWRITTEN, 0))} of {count(rewrites.num_turns)} turns rewritten"
    ]
    if num(AlignStatus.ORIGINAL):
        told.append(f"{count(num(AlignStatus.ORIGINAL))} kept by the review as they were")
    if num(AlignStatus.GATED):
        told.append(f"{count(num(AlignStatus.GATED))} gated ({_gates(rewrites)})")
    if num(AlignStatus.HARD_FORMAT):
        told.append(f"{count(num(AlignStatus.HARD_FORMAT))} left alone for their short form")
    if num(AlignStatus.NOT_ALIGNED):
        errors = ", ".join(f"{code} {count(number)}" for code, number in rewrites.errors.items())
        why = f" ({errors})" if errors else ""
        told.append(f"{count(num(AlignStatus.NOT_ALIGNED))} without a verdict{why}")
    return ", ".join(told)


def rewrite_caution(rewrites: RewriteFigures | None) -> str | None:
    """Returns what to do where more than `LOST_SHARE` of the rewrites were gated, else None."""
    if rewrites is None:
        return None
    tried = (AlignStatus.REWRITTEN, AlignStatus.ORIGINAL, AlignStatus.GATED)
    num_tried = sum(rewrites.statuses.get(status, 0) for status in tried)
    num_gated = rewrites.statuses.get(AlignStatus.GATED, 0)
    if num_gated <= LOST_SHARE * num_tried:
        return None
    return (
        f"{count(num_gated)} of {count(num_tried)} rewrites did not pass the gates "
        f"({_gates(rewrites)}), so that the original texts went out: this inner LLM does not fit "
        f"this data; read some with a2l explain, use another model, or set alignment.rewrite=off"
    )


def cautions(
    identities: Mapping[str, Mapping[str, str]], rewrites: RewriteFigures | None
) -> Iterator[str]:
    """Yields every warning of a run; none where there is nothing to warn of."""
    yield from model_cautions(identities)
    lost = rewrite_caution(rewrites)
    if lost is not None:
        yield lost


def gate_counts(rewrites: RewriteFigures) -> dict[str, int]:
    """Returns the turns that failed each gate, the gate with the most first.

    A short form is left alone rather than gated.
    """
    gates = (row for row in rewrites.gates if row.gate is not Gate.SOFT_FORMAT)
    failed = {row.gate.value: row.failed for row in gates if row.failed}
    return dict(sorted(failed.items(), key=lambda entry: -entry[1]))


def _gates(rewrites: RewriteFigures) -> str:
    names = {"parsed": "unparsed", "finished": "cut off"}
    counts = gate_counts(rewrites).items()
    return ", ".join(f"{names.get(name, words(name))} {count(number)}" for name, number in counts)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
