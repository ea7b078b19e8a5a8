"""What lying services answer: each lie spoils a good answer, on every transport that can carry it. Pure."""

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from align2llava.clients.wire import align2llava_pb2 as pb
from tests.contract.scripted_rest import plain

MILLION = 1_000_000
MEGABYTE = "m" * MILLION
YEARS_MS = 1e308

Answer = pb.ScoreResponse | pb.RewriteResponse | pb.ReviewResponse | pb.ModelIdentity
SCORE, REWRITE, REVIEW, MODEL = "Score", "Rewrite", "Review", "GetModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """An answer over HTTP; `endless` is sent again and again behind the body."""

    body: bytes
    status: str = "200 OK"
    headers: str = ""
    endless: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """A lie about `method`; `is_taken` where a client takes the answer, since its items alone are at fault, or cut.

    `spoil` changes the answer before any transport, `rest` and `rpc` make of the good one what goes out;
    where one of the two is None, its transport has the good answer, or `spoil`'s.
    """

    is_taken: bool = False
    exit_code: int | None = None  # of a run against it; None = no run is made
    method: str = SCORE
    spoil: Callable[[Answer], None] | None = None
    rest: Callable[[Answer], Http] | None = None
    rpc: Callable[[Answer], bytes] | None = None
    is_gzipped: bool = False  # the gRPC message
    is_unasked: bool = False  # the gRPC stream answers what nobody asked, without an end

    def transports(self) -> tuple[str, ...]:
        """Returns over which transports it can be told."""
        is_rpc = self.rpc is not None or self.is_gzipped or self.is_unasked
        named = {"rest": self.rest is not None, "grpc": is_rpc}
        return tuple(name for name, can in named.items() if can or self.spoil is not None)


def packed(answer: object) -> bytes:
    return msgpack.packb(answer) or b""


def rest(change: Callable[[dict[str, Any]], object]) -> Callable[[Answer], Http]:
    """Returns the body that a change makes of a good one."""

    def told(answer: Answer) -> Http:
        body = plain(answer)
        changed = change(body)
        return Http(body=changed if isinstance(changed, bytes) else packed(body))

    return told


def _groups(answer: Answer) -> Sequence[pb.GroupRewards]:
    assert isinstance(answer, pb.ScoreResponse)
    return answer.groups


def _model(answer: Answer) -> pb.ModelIdentity:
    return answer if isinstance(answer, pb.ModelIdentity) else answer.model


def each(change: Callable[[pb.ItemReward], None]) -> Callable[[Answer], None]:
    def spoil(answer: Answer) -> None:
        for group in _groups(answer):
            for item in group.items:
                change(item)

    return spoil


def each_turn(change: Callable[[pb.RewriteResult], None]) -> Callable[[Answer], None]:
    def spoil(answer: Answer) -> None:
        assert isinstance(answer, pb.RewriteResponse)
        for item in answer.items:
            change(item)

    return spoil


def field(name: str, value: object) -> Callable[[object], None]:
    def change(message: object) -> None:
        setattr(message, name, value)

    return change


def failed(code: str, message: str = "no", retry_after_ms: int = 0) -> Callable[[Answer], None]:
    error = pb.Error(code=code, message=message, retry_after_ms=retry_after_ms)
    return each(lambda item: item.error.CopyFrom(error))


def of_model(name: str, value: str) -> Callable[[Answer], None]:
    def spoil(answer: Answer) -> None:
        setattr(_model(answer), name, value)

    return spoil


def usage(name: str, value: float) -> Callable[[Answer], None]:
    def spoil(answer: Answer) -> None:
        for group in _groups(answer):
            setattr(group.usage, name, value)

    return spoil


def in_rest_items(name: str, value: object) -> Callable[[Answer], Http]:
    def change(body: dict[str, Any]) -> None:
        for group in body["groups"]:
            for item in group["items"]:
                item[name] = value

    return rest(change)


def repeated_items(answer: Answer) -> None:
    for group in _groups(answer):
        group.items.extend([group.items[0]] * 100_000)


def other_ids(answer: Answer) -> None:
    each(lambda item: setattr(item, "id", f"{item.id}?"))(answer)


def many_groups(body: bytes) -> Callable[[Answer], Http]:
    head = b"\x82\xa5model\x80\xa6groups\xdd" + MILLION.to_bytes(4, "big")
    return lambda _answer: Http(body=head + body * MILLION)


def _raw_groups(group: bytes) -> Callable[[Answer], bytes]:
    return lambda answer: _model(answer).SerializeToString() + (b"\x12" + group) * MILLION


def bomb(answer: Answer) -> Http:
    body = b"\x00" * 2**28
    for _ in range(3):
        body = gzip.compress(body, 9)
    return Http(body=body, headers="content-encoding: gzip, gzip, gzip\r\n")


def zipped(answer: Answer) -> Http:
    return Http(body=gzip.compress(packed(plain(answer))), headers="content-encoding: gzip\r\n")


def nested(_answer: Answer) -> Http:
    return Http(body=b"\x91" * MILLION + b"\xc0")


def announced(_answer: Answer) -> Http:
    return Http(body=b"\xdd\xff\xff\xff\xff" * 200)


def unknown_keys(body: dict[str, Any]) -> None:
    body |= {f"k{number}": number for number in range(MILLION // 4)}


def error_page(_answer: Answer) -> Http:
    return Http(
        status="500 Oops",
        headers="content-type: application/json\r\n",
        body=b'{"error": {"code": "internal", "message": "' + MEGABYTE.encode() * 40 + b'"}}',
    )


def raw_nested(depth: int) -> bytes:
    """Returns length-delimited fields within each other, whatever their message is."""
    data = b""
    for _ in range(depth):
        size = len(data)
        varint = bytearray()
        while size >= 128:
            varint.append(size % 128 + 128)
            size //= 128
        data = b"\x12" + bytes([*varint, size]) + data
    return data


ESCAPES = "\x1b[2J\x1b]0;mine\x07\u202e"

LIES: dict[str, Lie] = {
    # numbers
    "reward 1e30": Lie(exit_code=4, spoil=each(field("reward", 1e30))),
    "reward inf": Lie(spoil=each(field("reward", math.inf))),
    "reward nan": Lie(spoil=each(field("reward", math.nan))),
    "reward 1e300": Lie(rest=in_rest_items("reward", 1e300)),
    "num_tokens 2^63": Lie(rest=in_rest_items("num_tokens", 2**63)),
    "num_tokens 2^32": Lie(exit_code=0, is_taken=True, spoil=each(field("num_tokens", 2**32 - 1))),
    "num_tokens negative": Lie(rest=in_rest_items("num_tokens", -1)),
    "device_ms 1e308": Lie(exit_code=4, spoil=usage("device_ms", YEARS_MS)),
    "device_ms nan": Lie(spoil=usage("device_ms", math.nan)),
    "device_ms negative": Lie(spoil=usage("device_ms", -1.0)),
    "prefix_tokens 2^64": Lie(spoil=usage("prefix_tokens", 2**64 - 1)),
    "rewrite's device_ms inf": Lie(method=REWRITE, spoil=field("device_ms", math.inf)),
    "review's device_ms 1e308": Lie(method=REVIEW, spoil=field("device_ms", YEARS_MS)),
    # texts
    "messages of 1 MB": Lie(spoil=failed("invalid_request", MEGABYTE)),
    "messages of 3 KB": Lie(
        is_taken=True, exit_code=0, spoil=failed("invalid_request", MEGABYTE[:3_000])
    ),
    "codes of 1 MB": Lie(spoil=failed(MEGABYTE)),
    "messages a terminal obeys": Lie(is_taken=True, spoil=failed("invalid_request", ESCAPES)),
    "identity of 8 MB": Lie(method=MODEL, spoil=of_model("identity", MEGABYTE * 8)),
    "name of 8 MB": Lie(exit_code=4, method=MODEL, spoil=of_model("name", MEGABYTE * 8)),
    "name of 30 KB": Lie(method=MODEL, spoil=of_model("name", "m" * 30_000)),
    "name a terminal obeys": Lie(is_taken=True, method=MODEL, spoil=of_model("name", ESCAPES)),
    "purpose of 8 MB later": Lie(spoil=of_model("purpose", MEGABYTE * 8)),
    "rewrites of 20 MB": Lie(
        method=REWRITE,
        spoil=each_turn(lambda item: setattr(item.rewritten, "answer", MEGABYTE * 20)),
    ),
    "rewrites of 20 KB": Lie(
        exit_code=0,
        is_taken=True,
        method=REWRITE,
        spoil=each_turn(lambda item: setattr(item.rewritten, "answer", "m" * 20_000)),
    ),
    "completions of 20 MB": Lie(method=REWRITE, spoil=each_turn(field("unparsed", MEGABYTE * 20))),
    "finish reason of 1 MB": Lie(method=REWRITE, spoil=each_turn(field("finish_reason", MEGABYTE))),
    "nothing but spaces rewritten": Lie(
        is_taken=True,
        method=REWRITE,
        spoil=each_turn(lambda item: setattr(item.rewritten, "answer", " " * 300)),
    ),
    # structure
    "a million nils": Lie(exit_code=4, rest=many_groups(b"\xc0"), rpc=_raw_groups(b"\x00")),
    "a million empty groups": Lie(rest=many_groups(b"\x81\xa5items\x90"), rpc=_raw_groups(b"\x00")),
    "groups of an empty item": Lie(
        rest=many_groups(b"\x81\xa5items\x91\x80"), rpc=_raw_groups(b"\x02\x0a\x00")
    ),
    "arrays within arrays": Lie(rest=nested, rpc=lambda _: raw_nested(2000)),
    "arrays of 2^32 announced": Lie(rest=announced),
    "a million unknown fields": Lie(
        rest=rest(unknown_keys),
        rpc=lambda answer: answer.SerializeToString() + b"\xa2\x06\x00" * MILLION,
    ),
    "items a hundred thousand times": Lie(spoil=repeated_items),
    "items of others": Lie(spoil=other_ids),
    "no groups": Lie(spoil=lambda answer: answer.ClearField("groups")),
    "nothing": Lie(rest=lambda _: Http(body=b""), rpc=lambda _: b""),
    "another kind": Lie(is_taken=True, exit_code=4, method=MODEL, spoil=of_model("kind", "oracle")),
    "verdict of no name": Lie(
        method=REVIEW,
        rpc=lambda answer: _model(answer).SerializeToString() + b"\x12\x06\x0a\x00\x12\x02\x08\x63",
        rest=rest(lambda body: [item["reviewed"].update(verdict="x") for item in body["items"]]),
    ),
    # transport
    "gzip in gzip in gzip": Lie(exit_code=4, rest=bomb),
    "gzip that nobody asked for": Lie(rest=zipped),
    "gzip of 200 MB": Lie(rpc=lambda _: b"\x00" * (200 * MILLION), is_gzipped=True),
    "gzip of 60 MB": Lie(rpc=lambda _: b"\x00" * (60 * MILLION), is_gzipped=True),
    "60 MB of zeros": Lie(
        exit_code=4,
        rest=lambda _: Http(body=b"\x00" * (60 * MILLION)),
        rpc=lambda _: b"\x00" * (60 * MILLION),
    ),
    "60 MB of zeros as the model": Lie(
        method=MODEL,
        rest=lambda _: Http(body=b"\x00" * (60 * MILLION)),
        rpc=lambda _: b"\x00" * (60 * MILLION),
    ),
    "an answer without an end": Lie(
        exit_code=4,
        rest=lambda _: Http(
            body=b"", headers="transfer-encoding: chunked\r\n", endless=b"2\r\n\xc0\xc0\r\n"
        ),
    ),
    "answers that nobody asked for": Lie(is_taken=True, exit_code=0, is_unasked=True),
    "headers without an end": Lie(
        rest=lambda _: Http(body=b"", status="200 OK\r\nx: " + "y" * MILLION * 5),
    ),
    "100 Continue without an end": Lie(
        rest=lambda _: Http(
            body=b"", status="100 Go\r\n\r\n", endless=b"HTTP/1.1 100 Go\r\n\r\n" * 64
        ),
    ),
    "an error of 40 MB": Lie(rest=error_page),
    "a redirect": Lie(
        rest=lambda _: Http(
            status="307 There", headers="location: http://127.0.0.1:9/\r\n", body=b""
        ),
    ),
    "come back in a thousand years": Lie(
        exit_code=4,
        rest=lambda _: Http(status="429 Full", headers="retry-after: 1e99\r\n", body=b""),
    ),
    # items
    "overloaded for ever": Lie(exit_code=4, is_taken=True, spoil=failed("overloaded")),
    "overloaded for 49 days": Lie(
        exit_code=4, is_taken=True, spoil=failed("overloaded", retry_after_ms=2**32 - 1)
    ),
    "unavailable for ever": Lie(is_taken=True, spoil=failed("unavailable")),
    "image needed for ever": Lie(exit_code=4, is_taken=True, spoil=failed("image_needed")),
    "rewrites overloaded for ever": Lie(
        is_taken=True,
        exit_code=4,
        method=REWRITE,
        spoil=each_turn(lambda item: item.error.CopyFrom(pb.Error(code="overloaded"))),
    ),
}
