"""Input that no model can score, on small real models: an error of the table, and the next request works."""

import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from shutil import copytree

import pytest
from PIL import Image as PilImage
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from align2llava.clients.api import RewardClient
from align2llava.clients.errors import InvalidRequestError, TooLargeError
from align2llava.clients.wire.schemas import Group, Item, ScoreResponse
from tests.contract.servers import ROOT, Server, Transport, server
from tests.contract.wire_values import codes, encoded, question_group, square, wire_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MODEL = ROOT / "examples" / "blocks" / "models" / "question-reward"
EMBEDDINGS = "language_model.model.embed_tokens.weight"
GOOD = "Is there a red circle?"
POISON = "Is there a star?"  # the word whose embedding is not a number
LONG = "Is there a red circle? " * 1000


def model_with_a_hole(folder: Path) -> Path:
    """The small model, but one word makes it answer NaN."""
    copytree(MODEL, folder)
    weights = load_file(folder / "model.safetensors")
    word = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("\u2581star")
    weights[EMBEDDINGS][word] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("small")
    settings = {
        "A2L_ENGINE": "torch",
        "A2L_MODEL_DIR": str(model_with_a_hole(folder / "model")),
        "A2L_MAX_DECODE_MS": "150",
    }
    with server("question-reward", folder, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def refusing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "A2L_ENGINE": "torch",
        "A2L_MODEL_DIR": str(MODEL),
        "A2L_LONG_TEXT": "refuse",
    }
    folder = tmp_path_factory.mktemp("refusing")
    with server("question-reward", folder, settings=settings) as running:
        yield running


@pytest.fixture
async def small(small_server: Server, transport: Transport) -> AsyncIterator[RewardClient]:
    """A client; when the test is done, the next request must work."""
    client = small_server.reward_client(transport)
    yield client
    assert codes(await ask(client, question_group(GOOD))) == [[None]]
    await client.aclose()


async def ask(client: RewardClient, *groups: Group) -> ScoreResponse:
    return await client.score(groups, timeout_s=30)


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose data are those of 8 x 8 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(8 * (1 + 3 * 8))))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


async def test_reward_that_is_not_a_number_is_internal_and_spares_other_groups(
    small: RewardClient,
):
    response = await ask(small, question_group(POISON), question_group(GOOD))
    assert codes(response) == [["internal"], [None]]


async def test_text_beyond_the_context_is_scored_and_says_that_it_was_cut(small: RewardClient):
    response = await ask(small, question_group(GOOD, LONG))
    assert codes(response) == [[None, None]]
    assert [item.truncated for item in response.groups[0].items] == [False, True]


async def test_text_beyond_the_context_is_too_large_where_it_may_not_be_cut(
    refusing_server: Server, transport: Transport
):
    client = refusing_server.reward_client(transport)
    response = await ask(client, question_group(GOOD, LONG))
    assert codes(response) == [[None, "too_large"]]
    await client.aclose()


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [(60_000, 60_000, "too_large"), (3_000, 3_000, "image_invalid")],
    ids=["more than the limit", "more than there is"],
)
async def test_image_that_lies_about_its_size_costs_its_group_alone(
    small: RewardClient, width: int, height: int, code: str
):
    lie = wire_image(png_that_says(width, height))
    response = await ask(small, question_group("a", "b", image=lie), question_group(GOOD))
    assert codes(response) == [[code, code], [None]]


async def test_images_that_decode_slowly_cost_their_groups_alone(small: RewardClient):
    """Three of them, for two threads that decode."""
    noise = PilImage.effect_noise((1000, 1000), 60).resize((4000, 4000)).convert("RGB")
    data = encoded(noise, image_format="WEBP")
    slow = [wire_image(data + bytes([place])) for place in range(3)]  # what follows is ignored
    groups = [question_group(GOOD, image=image) for image in slow]
    response = await ask(small, *groups, question_group(GOOD, image=square("green")))
    assert codes(response) == [["image_invalid"]] * 3 + [[None]]


@pytest.mark.parametrize(
    "groups",
    [[], [Group(image=square(), items=())], [question_group(GOOD), Group(items=())]],
    ids=["no groups", "an empty group", "an empty group behind a good one"],
)
async def test_empty_group_is_an_invalid_request(small: RewardClient, groups: list[Group]):
    with pytest.raises(InvalidRequestError):
        await ask(small, *groups)


async def test_ten_thousand_items_are_too_large(small: RewardClient):
    items = tuple(Item(id=str(place), questions=(GOOD,)) for place in range(10_000))
    with pytest.raises(
        TooLargeError, match=r"10000 items; the limit is 1024|more than 36864 values"
    ):
        await ask(small, Group(image=square(), items=items))
