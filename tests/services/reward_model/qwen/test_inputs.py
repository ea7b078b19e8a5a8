import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from align2llava.services.reward_model.qwen.inputs import (
    LongImageError,
    PatchSettings,
    QwenInputs,
    VisionIds,
    patches_HWMV,
    positions_of,
    tokens_of,
)
from align2llava.services.reward_model.tokens.inputs import LongTextError, TextLimits
from align2llava.services.reward_model.tree.tree import merge
from tests.services.reward_model.tiny_qwen import (
    MARKS,
    PATCHES,
    qwen_tokenizer,
    tiny_qwen_config,
    token_id,
)

RELEASED = PatchSettings(patch=14, merge=2, min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
START, IMAGE, END = map(token_id, MARKS)


def inputs(*, max_length: int = 60, patches: PatchSettings = PATCHES) -> QwenInputs:
    return QwenInputs(
        # A copy: the constructor tells its tokenizer to read marks as text.
        type(qwen_tokenizer()).from_str(qwen_tokenizer().to_str()),
        ids=VisionIds(start=START, image=IMAGE, end=END),
        limits=TextLimits(max_length=max_length, max_chars=100),
        patches=patches,
    )


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


SIDES = st.one_of(st.integers(1, 40), st.integers(1, 5000))


@pytest.mark.parametrize("limits", [RELEASED, PATCHES], ids=["released", "tiny"])
@given(width=SIDES, height=SIDES)
def test_images_take_as_many_tokens_as_transformers_gives_them(limits, width, height):
    if max(width, height) > 200 * min(width, height):
        return  # transformers refuses it
    side = limits.patch * limits.merge
    down, across = smart_resize(
        height, width, factor=side, min_pixels=limits.min_pixels, max_pixels=limits.max_pixels
    )
    assert tokens_of((width, height), limits) == (across // side, down // side)


@settings(max_examples=15, deadline=None)
@given(width=st.integers(5, 300), height=st.integers(5, 300))
def test_patches_are_those_of_transformers_processor(width, height):
    image = noise(width, height)
    processor = Qwen2VLImageProcessorPil(
        patch_size=4,
        merge_size=2,
        size={"shortest_edge": PATCHES.min_pixels, "longest_edge": PATCHES.max_pixels},
    )
    theirs = processor(images=[image], return_tensors="np")
    ours = patches_HWMV(image, PATCHES)
    down, across, merged, values = ours.shape
    assert theirs["image_grid_thw"].tolist() == [[1, down * 2, across * 2]]
    frames = np.repeat(ours.reshape(-1, 3, 1, 16), 2, axis=2).reshape(-1, 2 * values)
    assert merged == 4
    np.testing.assert_allclose(frames, theirs["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_any_colour_mode_is_read(mode: str):
    assert inputs().image(noise(24, 30).convert(mode)).pixels.shape == (4, 3, 4, 48)


def test_a_strip_loses_its_far_ends_and_needs_little_memory():
    image = inputs(patches=RELEASED).image(noise(40_000, 1))
    assert image.num_tokens < 100


def test_a_row_is_the_marked_image_a_newline_and_the_prompt():
    image = inputs().image(noise(24, 30))
    row = inputs().row("a red star", image)
    spelled = f"{MARKS[0]}{MARKS[1] * 12}{MARKS[2]}\na red star"
    assert list(row.ids) == qwen_tokenizer().encode(spelled, add_special_tokens=False).ids
    assert image.num_tokens == 14
    assert not row.truncated


def test_a_row_without_an_image_is_the_prompt_alone():
    row = inputs().row("a red star", None)
    assert list(row.ids) == qwen_tokenizer().encode("a red star", add_special_tokens=False).ids


@pytest.mark.parametrize("mark", MARKS)
def test_no_text_smuggles_a_mark_in(mark: str):
    row = inputs().row(f"a {mark} star", inputs().image(noise(24, 30)))
    assert [row.ids.count(one) for one in (START, IMAGE, END)] == [1, 12, 1]
    assert not {START, IMAGE, END} & set(inputs().row(f"{mark}{mark}", None).ids)


def test_a_text_beyond_the_context_loses_its_end_and_says_so():
    row = inputs(max_length=16).row("a red star and a blue star", inputs().image(noise(24, 30)))
    assert (len(row.ids), row.truncated) == (16, True)
    assert row.ids[:14] == (START, *[IMAGE] * 12, END)


def test_an_image_that_leaves_no_place_for_a_text_is_refused():
    image = inputs().image(noise(24, 30))
    assert inputs(max_length=15).row("a", image).truncated
    with pytest.raises(LongImageError, match=r"takes 14 tokens; the model's limit is 14"):
        inputs(max_length=14).row("a", image)


def test_of_an_image_that_no_row_has_place_for_no_patches_are_made():
    short = inputs(max_length=14)
    image = short.image(noise(24, 30))
    assert (image.pixels.size, image.num_tokens) == (0, 14)
    with pytest.raises(LongImageError, match=r"takes 14 tokens; the model's limit is 14"):
        short.row("a", image)


def test_a_text_of_too_many_characters_is_refused():
    with pytest.raises(LongTextError, match="101 characters; the limit is 100"):
        inputs().row("a" * 101, None)


@pytest.fixture(scope="module")
def theirs():
    torch.set_num_threads(1)
    return Qwen2_5_VLModel(tiny_qwen_config())


@settings(max_examples=50, deadline=None)
@given(down=st.integers(1, 6), across=st.integers(1, 6), num_after=st.integers(0, 9))
def test_positions_are_those_that_transformers_gives_a_whole_row(theirs, down, across, num_after):
    ids = torch.tensor([[START, *[IMAGE] * (down * across), END, *[7] * num_after]])
    expected, _ = theirs.get_rope_index(
        ids,
        mm_token_type_ids=(ids == IMAGE).int(),
        image_grid_thw=torch.tensor([[1, 2 * down, 2 * across]]),
    )
    ours = positions_of(ids.shape[1], (down, across))
    assert ours.tolist() == expected[:, 0].tolist()
    assert positions_of(3, (down, across)).tolist() == expected[:, 0, :3].tolist()


def test_positions_without_an_image_count_up_on_all_axes():
    assert positions_of(3, None).tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize("has_image", [True, False], ids=["image", "text only"])
def test_a_place_of_a_tree_has_the_position_that_it_has_in_its_row(has_image):
    made = inputs()
    image = made.image(noise(64, 10)) if has_image else None
    rows = [made.row(text, image) for text in ("a red", "a red star", "a blue star . a", "a red")]
    tree = merge([row.ids for row in rows])
    found = made.positions(tree, rows, image)
    for place, (row, depth) in enumerate(zip(tree.sources_T, tree.depths_T, strict=True)):
        grid = None if image is None else image.pixels.shape[:2]
        assert found[:, place].tolist() == positions_of(len(rows[row].ids), grid)[:, depth].tolist()
