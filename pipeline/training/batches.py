"""Batches of preference groups as tensors, on the decoder and the inputs code of serving.

Shapes: G groups (images), B candidates, T tokens, C H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from align2llava.clients.wire.decoding import MAX_IMAGE_BYTES, MAX_PIXELS
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.preferences.groups import PreferenceGroup
from align2llava.pipeline.training.images import check_image, image_pixels
from align2llava.services.reward_model.tokens.batches import padded_rows
from align2llava.services.reward_model.tokens.inputs import (
    InputTextError,
    RowEncoder,
    TokenRow,
    prompt_of,
)
from align2llava.services.reward_model.tokens.pixels import PixelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBatch:
    """Some groups' candidates, right-padded, with each group's pixels once."""

    pixels_GCHW: Tensor
    ids_BT: Tensor
    attention_mask_BT: Tensor
    group_B: Tensor  # which group each candidate belongs to
    score_B: Tensor


class BatchMaker:
    """Turns groups into batches; keeps the pixels of the images used last."""

    def __init__(
        self,
        *,
        encoder: RowEncoder,
        pixels: PixelSettings,
        images_root: Path,
        cached_images: int,
        max_pixels: int = MAX_PIXELS,
        max_image_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        self._encoder = encoder
        self._pixels = pixels
        self._images_root = images_root
        self._max_pixels = max_pixels
        self._max_image_bytes = max_image_bytes
        self._load = lru_cache(maxsize=cached_images)(self._load_pixels)

    def batch(self, groups: Sequence[PreferenceGroup]) -> GroupBatch:
        """Returns the groups as one batch.

        Raises:
            InputError: an image is missing or undecodable, or a text cannot be scored.
        """
        rows = [row for group in groups for row in self._rows(group)]
        ids_BT, attention_mask_BT = padded_rows(rows, pad=self._encoder.special.pad)
        counts = torch.tensor([len(group.candidates) for group in groups])
        scores = [candidate.score for group in groups for candidate in group.candidates]
        return GroupBatch(
            pixels_GCHW=torch.stack([self._load(group.image) for group in groups]),
            ids_BT=ids_BT,
            attention_mask_BT=attention_mask_BT,
            group_B=torch.repeat_interleave(torch.arange(len(groups)), counts),
            score_B=torch.tensor(scores),
        )

    def check(self, groups: Sequence[PreferenceGroup], *, path: Path) -> None:
        """Looks at all that batches of these groups, read from `path`, will need.

        Images by their header only; no pixel is decoded.

        Raises:
            InputError: an image is missing or none that we read, or a text has no row; it names
                the entry.
        """
        looked_at: set[str] = set()
        for group in groups:
            try:
                self._rows(group)
                if group.image not in looked_at:
                    check_image(
                        self._images_root / group.image,
                        max_pixels=self._max_pixels,
                        max_bytes=self._max_image_bytes,
                    )
                    looked_at.add(group.image)
            except InputError as error:
                raise InputError(f"entry {group.entry}: {error}", path=path) from error

    def _rows(self, group: PreferenceGroup) -> list[TokenRow]:
        try:
            prompts = [
                prompt_of(group.kind, candidate.questions, candidate.answer)
                for candidate in group.candidates
            ]
            return [self._encoder.encode(prompt, has_image=True) for prompt in prompts]
        except InputTextError as error:
            raise InputError(
                f"turn {group.turn}: {error}", path=self._images_root / group.image
            ) from error

    def _load_pixels(self, name: str) -> Tensor:
        pixels = image_pixels(
            self._images_root / name,
            self._pixels,
            max_pixels=self._max_pixels,
            max_bytes=self._max_image_bytes,
        )
        return torch.from_numpy(pixels)


def groups_of_step(num_groups: int, *, per_step: int, step: int, seed: int) -> list[int]:
    """Returns the places of the groups of one step: epoch after epoch, each in its own order.

    A pure function of its arguments, so that the step is the whole data position.
    """
    places: list[int] = []
    position = step * per_step
    while len(places) < per_step:
        epoch, offset = divmod(position + len(places), num_groups)
        order = list(range(num_groups))
        Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - an order, no secret
        places += order[offset : offset + per_step - len(places)]
    return places
