"""Every schema survives the trip through its protobuf message; absence stays absence."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import schemas
from align2llava.clients.wire.convert import from_proto, to_proto

IDENTITY = schemas.ModelIdentity(
    name="m",
    kind="question-reward",
    identity="ab",
    weights_sha256="cd",
    dtype="float32",
    purpose="shapes",
)
TURN = schemas.Turn(question="q", answer="")
ERROR = schemas.ErrorBody(code="overloaded", message="full", retry_after_ms=7)
MESSAGES = [
    schemas.ScoreRequest(
        groups=(
            schemas.Group(
                image=schemas.Image(sha256="0" * 64, data=b"\x00\xff"),
                items=(
                    schemas.Item(id="a", questions=("q1", "q2")),
                    schemas.Item(id="b", question="", answer=""),
                ),
            ),
            schemas.Group(image=schemas.Image(sha256="1" * 64), items=()),
            schemas.Group(items=()),
        )
    ),
    schemas.ScoreResponse(
        model=IDENTITY,
        groups=(
            schemas.GroupRewards(
                items=(
                    schemas.ItemReward(id="a", reward=0.0, num_tokens=3, truncated=True),
                    schemas.ItemReward(id="b", error=ERROR),
                ),
                usage=schemas.Usage(prefix_tokens=1, suffix_tokens=2, device_ms=0.5),
            ),
        ),
    ),
    schemas.RewriteRequest(
        items=(
            schemas.RewriteItem(id="a", question="q", answer="a"),
            schemas.RewriteItem(
                id="b",
                question="q",
                answer="a",
                sampling=schemas.Sampling(temperature=0.5, seed=2**64 - 1, max_tokens=9),
            ),
        )
    ),
    schemas.RewriteResponse(
        model=IDENTITY,
        items=(
            schemas.RewriteResult(id="a", rewritten=TURN, finish_reason="stop"),
            schemas.RewriteResult(id="b", unparsed="", num_completion_tokens=4),
            schemas.RewriteResult(id="c", error=ERROR),
        ),
        device_ms=1.5,
    ),
    schemas.ReviewRequest(items=(schemas.ReviewItem(id="a", original=TURN, rewrite=TURN),)),
    schemas.ReviewResponse(
        model=IDENTITY,
        items=(
            schemas.ReviewResult(
                id="a",
                reviewed=schemas.Reviewed(
                    verdict=schemas.Verdict.ORIGINAL,
                    original_first=schemas.Verdict.REWRITE,
                    rewrite_first=schemas.Verdict.ORIGINAL,
                ),
            ),
            schemas.ReviewResult(id="b", error=ERROR),
        ),
    ),
    schemas.LikelihoodRequest(items=(schemas.LikelihoodItem(id="a", prompt="", completion="c"),)),
    schemas.LikelihoodResponse(
        model=IDENTITY,
        items=(
            schemas.LikelihoodResult(id="a", nll=0.0, num_tokens=1),
            schemas.LikelihoodResult(id="b", error=ERROR),
        ),
    ),
    IDENTITY,
]


def proto_of(message: schemas.Message):
    return getattr(pb, type(message).__name__.replace("ErrorBody", "Error"))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip_through_protobuf_changes_nothing(message: schemas.Message):
    wire = to_proto(message, proto_of(message)).SerializeToString()
    assert from_proto(proto_of(message).FromString(wire), type(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip_through_json_changes_nothing(message: schemas.Message):
    body = message.model_dump_json(exclude_none=True)
    assert type(message).model_validate_json(body) == message


def test_every_wire_field_exists_in_its_schema():
    for name, descriptor in pb.DESCRIPTOR.message_types_by_name.items():
        schema = getattr(schemas, "ErrorBody" if name == "Error" else name, None)
        if schema is None:
            assert name in {"GetModelRequest", "ScoreStreamRequest", "ScoreStreamResponse"}
            continue
        assert set(descriptor.fields_by_name) == set(schema.model_fields), name


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=50))
@settings(max_examples=50)
def test_any_text_and_bytes_survive(text: str, data: bytes):
    group = schemas.Group(
        image=schemas.Image(sha256="a" * 64, data=data or None),
        items=(schemas.Item(id=text, questions=(text,)),),
    )
    assert from_proto(to_proto(group, pb.Group), schemas.Group) == group


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_reward_does_not_fit_the_schema(reward: float):
    with pytest.raises(ValidationError, match="finite"):
        from_proto(pb.ItemReward(id="a", reward=reward), schemas.ItemReward)


def test_outcome_must_be_present():
    with pytest.raises(ValidationError, match="exactly one of reward, error"):
        from_proto(pb.ItemReward(id="a"), schemas.ItemReward)


def test_unspecified_verdict_does_not_fit_the_schema():
    with pytest.raises(ValidationError, match="original_first"):
        from_proto(pb.Reviewed(verdict=pb.VERDICT_ORIGINAL), schemas.Reviewed)


@pytest.mark.parametrize("verdict", [0, 7], ids=["unspecified", "unknown"])
def test_verdict_outside_the_contract_is_refused(verdict: int):
    known = pb.VERDICT_REWRITE
    reviewed = pb.Reviewed(original_first=known, rewrite_first=known)
    reviewed.verdict = verdict  # pyright: ignore[reportAttributeAccessIssue]  (no verdict, on purpose)
    with pytest.raises(ValueError, match=r"(?i)verdict"):
        from_proto(reviewed, schemas.Reviewed)
