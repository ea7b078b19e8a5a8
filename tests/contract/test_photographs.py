"""Ten real photographs, JPEG and PNG, RGB, RGBA, grey and palette, go through scoring."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage
from PIL import Image as PilImage

from tests.contract.servers import ROOT, Server, Transport, server
from tests.contract.wire_values import codes, encoded, question_group, rewards, wire_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOLDER = Path(skimage.__file__).parent / "data"
NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "moon.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
)


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "A2L_ENGINE": "torch",
        "A2L_MODEL_DIR": str(ROOT / "examples" / "blocks" / "models" / "question-reward"),
    }
    folder = tmp_path_factory.mktemp("real")
    with server("question-reward", folder, settings=settings) as running:
        yield running


def variants() -> dict[str, bytes]:
    """The files as they are, and the cat in the modes that are not among them."""
    files = {name: (FOLDER / name).read_bytes() for name in NAMES}
    cat = PilImage.open(FOLDER / "chelsea.png")
    with_alpha = cat.copy()
    with_alpha.putalpha(PilImage.linear_gradient("L").resize(cat.size))
    return files | {
        "palette": encoded(cat.quantize(64)),
        "alpha": encoded(with_alpha),
        "grey and alpha": encoded(with_alpha.convert("LA")),
        "16-bit grey": encoded(cat.convert("L").convert("I;16")),
        "CMYK": encoded(cat.convert("CMYK"), image_format="JPEG"),
        "WebP": encoded(cat, image_format="WEBP"),
    }


async def test_photographs_of_every_mode_are_scored(real_server: Server, transport: Transport):
    images = variants()
    client = real_server.reward_client(transport)
    groups = [
        question_group("What is shown?", "Why?", image=wire_image(data)) for data in images.values()
    ]
    response = await client.score(groups, timeout_s=60)
    await client.aclose()
    assert dict(zip(images, codes(response), strict=True)) == {
        name: [None, None] for name in images
    }
    different = {tuple(row) for row in rewards(response)}
    assert len(different) > len(NAMES) // 2, "the reward does not depend on the photograph"
