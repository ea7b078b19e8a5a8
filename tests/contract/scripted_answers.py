"""What the scripted services answer: rewards, rewrites and verdicts that only content decides.

Rewards come in sixteenths, so that many records tie at a cut.
"""

import hashlib
from collections.abc import Sequence

from align2llava.clients.wire import align2llava_pb2 as pb

REWARD_KINDS = ("question-reward", "answer-reward")
Items = Sequence[pb.Item]


def content_key(*parts: str) -> str:
    """Returns the name under which an item is logged: of its content, never of its id."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def score_key(image_sha256: str, *texts: str) -> str:
    return content_key("score", image_sha256, *texts)


def rewrite_key(question: str, answer: str) -> str:
    return content_key("rewrite", question, answer)


def review_key(question: str, answer: str) -> str:
    return content_key("review", question, answer)


def identity(kind: str, *, is_lie: bool = False) -> pb.ModelIdentity:
    name = "liar" if is_lie else "scripted"
    return pb.ModelIdentity(
        name=name,
        kind=kind,
        identity=hashlib.blake2b(f"{kind} {name}".encode(), digest_size=16).hexdigest(),
        weights_sha256="0" * 64,
        dtype="float32",
        template_version="1",
        engine="scripted",
    )


def texts_of(item: pb.Item) -> tuple[str, ...]:
    return tuple(item.questions) or (item.question, item.answer)


def draw(key: str, upto: int) -> int:
    """Returns a number below `upto` that the key decides."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % upto


def keys_of(request: pb.ScoreRequest | pb.RewriteRequest | pb.ReviewRequest) -> list[str]:
    """Returns the key of every item of a request, in order."""
    if isinstance(request, pb.ScoreRequest):
        return [
            score_key(group.image.sha256, *texts_of(item))
            for group in request.groups
            for item in group.items
        ]
    if isinstance(request, pb.RewriteRequest):
        return [rewrite_key(item.question, item.answer) for item in request.items]
    return [review_key(item.original.question, item.original.answer) for item in request.items]


def scored(
    request: pb.ScoreRequest, *, kind: str, images: set[str], is_lie: bool
) -> pb.ScoreResponse:
    """Returns rewards; `image_needed` for every item of a group whose image is not in `images`."""
    response = pb.ScoreResponse(model=identity(kind, is_lie=is_lie))
    for group in request.groups:
        answer = response.groups.add()
        sha256 = group.image.sha256
        if group.image.data:
            images.add(hashlib.sha256(group.image.data).hexdigest())
        for item in group.items:
            outcome = answer.items.add(id=item.id)
            if sha256 not in images:
                outcome.error.code = "image_needed"
                outcome.error.message = f"image {sha256} is not known"
                continue
            salt = "lie" if is_lie else kind
            key = score_key(sha256, *texts_of(item))
            outcome.reward = draw(f"{salt} {key}", 64) / 16 - 2
            outcome.num_tokens = 600 + len(" ".join(texts_of(item)).split())
        answer.usage.prefix_tokens = 576
        answer.usage.device_ms = float(len(group.items))
    return response


def rewritten(request: pb.RewriteRequest) -> pb.RewriteResponse:
    """Returns rewrites; one in eight states a number more than the original, and is gated."""
    response = pb.RewriteResponse(model=identity("inner-llm"))
    for item in request.items:
        result = response.items.add(id=item.id, finish_reason="stop", num_completion_tokens=20)
        extra = " 77 times" if draw(rewrite_key(item.question, item.answer), 8) == 0 else ""
        result.rewritten.question = f"Say, {item.question}"
        result.rewritten.answer = f"Well, {item.answer}{extra}"
        result.sampling.CopyFrom(item.sampling)
    response.device_ms = 1.0
    return response


def reviewed(request: pb.ReviewRequest) -> pb.ReviewResponse:
    """Returns verdicts; one rewrite in four is refused."""
    response = pb.ReviewResponse(model=identity("inner-llm"))
    for item in request.items:
        result = response.items.add(id=item.id, num_completion_tokens=2).reviewed
        is_refused = draw(review_key(item.original.question, item.original.answer), 4) == 0
        result.verdict = pb.VERDICT_ORIGINAL if is_refused else pb.VERDICT_REWRITE
        result.original_first = pb.VERDICT_REWRITE
        result.rewrite_first = result.verdict
    response.device_ms = 1.0
    return response
