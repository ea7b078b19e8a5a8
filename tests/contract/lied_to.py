"""One call of a client to a service that lies: `python lied_to.py KIND METHOD URL`; tells in JSON what came of it."""

import asyncio
import hashlib
import json
import resource
import sys
import time
from contextlib import suppress
from typing import cast

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import ClientError
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import (
    Group,
    Image,
    Item,
    Message,
    ReviewItem,
    RewriteItem,
    Turn,
)

TIMEOUT_S = 2.0
DATA = b"an image"
TURN = Turn(question="What is it?", answer="A thing of some colour.")


def groups() -> list[Group]:
    image = Image(sha256=hashlib.sha256(DATA).hexdigest(), data=DATA)
    items = tuple(Item(id=str(number), questions=("What?", "Why?")) for number in range(8))
    return [Group(image=image, items=items)] * 2


async def ask(kind: str, method: str, url: str) -> Message:
    endpoint = Endpoint(url=url)
    if kind != "inner-llm":
        client = connect_reward(endpoint, kind=cast("RewardKind", kind), retries=False)
    else:
        client = connect_inner_llm(endpoint, retries=False)
    try:
        if method == "GetModel":
            return await client.model(timeout_s=TIMEOUT_S)
        if method == "Score":
            return await cast("RewardClient", client).score(groups(), timeout_s=TIMEOUT_S)
        llm = cast("InnerLLMClient", client)
        if method == "Rewrite":
            items = [RewriteItem(id=str(n), **TURN.model_dump()) for n in range(8)]
            return await llm.rewrite(items, timeout_s=TIMEOUT_S)
        items = [ReviewItem(id=str(number), original=TURN, rewrite=TURN) for number in range(8)]
        return await llm.review(items, timeout_s=TIMEOUT_S)
    finally:
        await client.aclose()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(kind: str, method: str, url: str) -> None:
    with suppress(
        ClientError
    ):  # nobody listens there; what is imported and kept at a first call is
        asyncio.run(ask(kind, method, url.rpartition(":")[0] + ":9"))
    before, started = peak(), time.monotonic()
    told: dict[str, object] = {}
    try:
        answer = asyncio.run(ask(kind, method, url))
        told["answer_chars"] = len(answer.model_dump_json())
    except ClientError as error:
        told |= {"error": type(error).__name__, "message": str(error)}
    told |= {"seconds": time.monotonic() - started, "growth": peak() - before}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
