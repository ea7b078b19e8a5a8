"""Qwen2.5-VL as a reward model: vision tower, language model with m-RoPE, and a scalar head.

Shapes: T places, R rows, N patches, V values of a patch, P image tokens, D hidden size. Positions
have three axes: time, height, width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLVisionConfig,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from align2llava.services.reward_model.tokens.inputs import ImageInput
from align2llava.services.reward_model.tree.attention import TreeAttention
from align2llava.services.reward_model.tree.decoder import Decoder
from align2llava.services.reward_model.tree.forward import reward_of, tree_embeds
from align2llava.services.reward_model.tree.tree import Ints, Tree

COLOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGeometry:
    """How an image is cut for the vision tower."""

    patch: int  # side of a patch in pixels
    merge: int  # a token covers `merge` x `merge` patches
    frames: int  # a patch holds so many frames; an image stands in each of them


def text_config(config: Qwen2_5_VLConfig) -> Qwen2_5_VLTextConfig:
    """Returns the language model's part of a configuration.

    Raises:
        TypeError: it is another model's.
    """
    if not isinstance(config.text_config, Qwen2_5_VLTextConfig):
        raise TypeError(f"the language model is {type(config.text_config).__name__}")
    return config.text_config


def vision_config(config: Qwen2_5_VLConfig) -> Qwen2_5_VLVisionConfig:
    """Returns the vision tower's part of a configuration.

    Raises:
        TypeError: it is another model's.
    """
    if not isinstance(config.vision_config, Qwen2_5_VLVisionConfig):
        raise TypeError(f"the vision tower is {type(config.vision_config).__name__}")
    return config.vision_config


def patch_geometry(config: Qwen2_5_VLConfig) -> PatchGeometry:
    """Returns how images are cut.

    Raises:
        TypeError: a patch is not given by one side and one number of frames.
        ValueError: one of them is not positive.
    """
    vision = vision_config(config)
    patch, frames = vision.patch_size, vision.temporal_patch_size
    if not isinstance(patch, int) or not isinstance(frames, int):
        raise TypeError(
            f"patch_size is {patch!r} and temporal_patch_size {frames!r}; both need one number"
        )
    if min(patch, frames, vision.spatial_merge_size) < 1:
        raise ValueError("patch_size, temporal_patch_size and spatial_merge_size must be positive")
    return PatchGeometry(patch=patch, merge=vision.spatial_merge_size, frames=frames)


class QwenRewardModel(nn.Module):
    """Qwen2.5-VL with a bias-free `Linear(hidden, 1)` head; the head runs in float32.

    `pack` comes before `tree_rewards`.
    """

    def __init__(self, config: Qwen2_5_VLConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = patch_geometry(config)
        self.qwen = Qwen2_5_VLModel(config)
        hidden_size = text_config(config).hidden_size
        self.score = nn.Linear(hidden_size, 1, bias=False)
        nn.init.normal_(self.score.weight, std=hidden_size**-0.5)
        self._decoder: Decoder | None = None  # once packed

    def features(self, images: Sequence[ImageInput]) -> list[Tensor]:
        """Returns the image tokens of each image, [P, D] each; images of any sizes go together.

        The tower attends within windows and within images, never from one image to another.
        """
        device = self.score.weight.device
        merge = self.geometry.merge
        sizes = [image.pixels.shape[:2] for image in images]
        grids_G3 = torch.tensor([(1, down * merge, across * merge) for down, across in sizes])
        patches_NV = torch.cat([self._patches(image).to(device) for image in images])
        output = self.qwen.visual(patches_NV, grid_thw=grids_G3.to(device))
        tokens = output.pooler_output.split([down * across for down, across in sizes])
        # Own memory for each: a part that is kept would keep the others.
        return [tokens_PD.clone() for tokens_PD in tokens]

    def _patches(self, image: ImageInput) -> Tensor:
        """Returns an image's patches, [N, V], each frame of a patch being the image."""
        shape = (-1, COLOURS, 1, self.geometry.patch**2)
        one_frame = torch.from_numpy(image.pixels).view(shape)
        return one_frame.expand(-1, -1, self.geometry.frames, -1).flatten(1)

    def pack(self, attention: TreeAttention) -> None:
        """Makes this a model of trees alone: its layers are taken away and repacked."""
        assert self._decoder is None, "a model is packed once"
        self._decoder = Decoder(self.qwen.language_model, attention)

    def tree_rewards(
        self, tree: Tree, positions_AT: Ints, features: Sequence[Tensor | None]
    ) -> Tensor:
        """Returns the reward of each of a tree's rows, float32, [R]; see `tree_forward`."""
        assert self._decoder is not None, "`pack` comes first"
        position_ids = torch.from_numpy(positions_AT).to(self.score.weight.device)
        hidden_RD = self._decoder.last_hidden(
            tree,
            embeds_TD=tree_embeds(
                self.qwen.language_model.embed_tokens,
                tree,
                features,
                image=self.config.image_token_id,
            ),
            position_ids=position_ids.unsqueeze(1),  # three axes of a batch of one
        )
        return reward_of(hidden_RD, self.score)
