"""What a record costs at least: the work of libraries and of the kernel that no code of ours can save.

Each piece is timed alone, in one thread, on inputs of the benchmark's world; CPU time, best of three.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson
from PIL import Image

from align2llava.clients.wire import align2llava_pb2 as pb
from benchmarks.driver_world import World, image_name, records
from benchmarks.measuring import Row

RECORDS_A_MESSAGE = 32
_NUM_TIMES = 3
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of the work; `times_a_record` is how often a record needs it."""

    name: str
    us: float
    times_a_record: float

    def row(self) -> Row:
        """Returns what is shown of it."""
        return {
            "part": "floor",
            "path": self.name,
            "us_each": self.us,
            "us_a_record": self.us * self.times_a_record,
        }


def pieces(world: World) -> Sequence[Piece]:
    """Returns the pieces over gRPC, of a question stage whose images are known by hash."""
    raws = [text.encode() for text in records(world.size)]
    values = [orjson.loads(raw) for raw in raws]
    num_images = world.size.num_records // world.size.records_per_image
    paths = [str(world.images / image_name(number)) for number in range(num_images)]
    images = [_read(path) for path in paths]
    requests = [_request(numbers) for numbers in _messages(world.size.num_records)]
    answers = [_answer(request).SerializeToString() for request in requests]
    an_image = 1 / world.size.records_per_image
    a_message = 1 / RECORDS_A_MESSAGE
    return (
        Piece(name="JSON parsed", us=_us(orjson.loads, raws), times_a_record=2),
        Piece(name="JSON with sorted keys", us=_us(_canonical, values), times_a_record=1),
        Piece(name="uid hashed", us=_us(_uid, raws), times_a_record=1),
        Piece(name="image opened, read, closed", us=_us(_read, paths), times_a_record=an_image),
        Piece(name="image hashed", us=_us(_sha256, images), times_a_record=an_image),
        Piece(name="image header", us=_us(_num_pixels, images), times_a_record=an_image),
        Piece(name="message encoded", us=_us(_encoded, requests), times_a_record=a_message),
        Piece(name="answer decoded", us=_us(_decoded, answers), times_a_record=a_message),
    )


def _us(work: Callable[[T], U], inputs: Sequence[T]) -> float:
    times_s: list[float] = []
    for _ in range(_NUM_TIMES):
        began_s = time.process_time()
        for one in inputs:
            work(one)
        times_s.append(time.process_time() - began_s)
    return 1e6 * min(times_s) / len(inputs)


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _uid(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _num_pixels(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
        return image.width * image.height


def _messages(num_records: int) -> Sequence[range]:
    return [
        range(start, min(num_records, start + RECORDS_A_MESSAGE))
        for start in range(0, num_records, RECORDS_A_MESSAGE)
    ]


def _request(numbers: range) -> pb.ScoreRequest:
    request = pb.ScoreRequest()
    for number in numbers:
        group = request.groups.add()
        group.image.sha256 = f"{number:064x}"
        group.items.add(id=f"{number:032x}/-1/0", questions=["What is beside the red car?"])
    return request


def _answer(request: pb.ScoreRequest) -> pb.ScoreResponse:
    response = pb.ScoreResponse()
    for group in request.groups:
        rewards = response.groups.add()
        for item in group.items:
            rewards.items.add(id=item.id, reward=0.5, num_tokens=64)
    return response


def _encoded(request: pb.ScoreRequest) -> bytes:
    copy = pb.ScoreRequest()
    for group in request.groups:
        there = copy.groups.add()
        there.image.sha256 = group.image.sha256
        for item in group.items:
            there.items.add(id=item.id, questions=list(item.questions))
    return copy.SerializeToString()


def _decoded(data: bytes) -> Sequence[tuple[str, float]]:
    response = pb.ScoreResponse.FromString(data)
    return [(item.id, item.reward) for group in response.groups for item in group.items]
