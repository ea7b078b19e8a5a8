"""LLaVA as a reward model: vision tower, projector, Llama, and a scalar head at the last token.

Shapes: B rows (sequences), T tokens, D hidden size, G images, C H W pixels, P image tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers.models.llava.modeling_llava import LlavaModel

from align2llava.services.reward_model.tokens.inputs import ImageInput, SpecialIds
from align2llava.services.reward_model.tree.attention import TreeAttention
from align2llava.services.reward_model.tree.decoder import Decoder
from align2llava.services.reward_model.tree.forward import reward_of, tree_embeds
from align2llava.services.reward_model.tree.tree import Ints, Tree


def text_config(config: LlavaConfig) -> LlamaConfig:
    """Returns the language model's part of a configuration.

    Raises:
        TypeError: the language model is no Llama.
    """
    if not isinstance(config.text_config, LlamaConfig):
        raise TypeError(f"the language model is {type(config.text_config).__name__}, not Llama")
    return config.text_config


def vision_config(config: LlavaConfig) -> CLIPVisionConfig:
    """Returns the vision tower's part of a configuration.

    Raises:
        TypeError: the vision tower is no CLIP.
    """
    if not isinstance(config.vision_config, CLIPVisionConfig):
        raise TypeError(f"the vision tower is {type(config.vision_config).__name__}, not CLIP")
    return config.vision_config


def special_ids(config: LlavaConfig) -> SpecialIds:
    """Returns the ids of BOS, padding (0 where the configuration names none) and the image.

    Raises:
        TypeError: the configuration does not name one id for BOS or the image.
    """
    bos, pad = text_config(config).bos_token_id, text_config(config).pad_token_id
    image = config.image_token_id
    if not isinstance(bos, int) or not isinstance(image, int):
        raise TypeError(f"bos_token_id is {bos!r} and image_token_index {image!r}; both are needed")
    return SpecialIds(bos=bos, pad=pad if pad is not None else 0, image=image)


def image_geometry(config: LlavaConfig) -> tuple[int, int]:
    """Returns the image's side in pixels and the number of tokens it takes.

    Raises:
        TypeError: image or patch is no square given by one number.
        ValueError: the image is smaller than a patch.
    """
    side, patch = vision_config(config).image_size, vision_config(config).patch_size
    if not isinstance(side, int) or not isinstance(patch, int):
        raise TypeError(f"image_size is {side!r} and patch_size {patch!r}; numbers are read")
    if not 0 < patch <= side:
        raise ValueError(f"image_size is {side} and patch_size {patch}")
    patches = (side // patch) ** 2
    return side, patches if config.vision_feature_select_strategy == "default" else patches + 1


def last_positions(attention_mask_BT: Tensor) -> Tensor:
    """Returns the index of each row's last attended token; rows are right-padded.

    By the mask, not by the pad id: a pad id may also be a real token.
    """
    return attention_mask_BT.long().sum(dim=1) - 1


class LlavaBackbone(nn.Module):
    """LLaVA without a head."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        self.config = config
        self.llava = LlavaModel(config)

    def image_features(self, pixels_GCHW: Tensor) -> Tensor:
        """Returns the projected image tokens, [G, P, D]."""
        tower = self.llava.vision_tower
        output = tower(pixels_GCHW.to(self.compute_dtype), output_hidden_states=True)
        hidden_GPD = output.hidden_states[self.config.vision_feature_layer]
        if self.config.vision_feature_select_strategy == "default":
            hidden_GPD = hidden_GPD[:, 1:]  # without the class token
        return self.llava.multi_modal_projector(hidden_GPD)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Returns the dtype of all weights but the head's computation."""
        return self.llava.multi_modal_projector.linear_1.weight.dtype

    def hidden(
        self, ids_BT: Tensor, attention_mask_BT: Tensor, features_BPD: Tensor | None
    ) -> Tensor:
        """Returns the language model's last hidden states, [B, T, D].

        `features_BPD` holds each row's image tokens, put where the row holds the image id; a row
        cut inside its image takes the first of them. None for rows without image.
        """
        language_model = self.llava.language_model
        is_image_BT = ids_BT == self.config.image_token_id
        embeds_BTD = language_model.embed_tokens(ids_BT.masked_fill(is_image_BT, 0))
        if features_BPD is not None:
            index_BT = (is_image_BT.long().cumsum(dim=1) - 1).clamp(min=0)
            index_BT = index_BT.clamp(max=features_BPD.shape[1] - 1)
            spread_BTD = features_BPD.gather(
                1, index_BT.unsqueeze(-1).expand(-1, -1, features_BPD.shape[-1])
            )
            embeds_BTD = embeds_BTD.where(~is_image_BT.unsqueeze(-1), spread_BTD)
        return language_model(
            inputs_embeds=embeds_BTD, attention_mask=attention_mask_BT, use_cache=False
        ).last_hidden_state


class LlavaRewardModel(LlavaBackbone):
    """LLaVA with a bias-free `Linear(hidden, 1)` head; the head runs in float32.

    `forward` takes padded rows (training, and the baselines of benchmarks). Once it is packed, it
    takes rows merged into trees instead, by `tree_rewards` (serving).
    """

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        hidden_size = text_config(config).hidden_size
        self.score = nn.Linear(hidden_size, 1, bias=False)
        nn.init.normal_(self.score.weight, std=hidden_size**-0.5)
        self._decoder: Decoder | None = None  # once packed

    def forward(
        self, ids_BT: Tensor, attention_mask_BT: Tensor, features_BPD: Tensor | None
    ) -> Tensor:
        """Returns the rewards, float32, [B]; higher is better."""
        hidden_BTD = self.hidden(ids_BT, attention_mask_BT, features_BPD)
        last_B = last_positions(attention_mask_BT)
        index = last_B.view(-1, 1, 1).expand(-1, 1, hidden_BTD.shape[-1])
        return reward_of(hidden_BTD.gather(1, index).squeeze(1), self.score)

    def features(self, images: Sequence[ImageInput]) -> list[Tensor]:
        """Returns the image tokens of each image, [P, D] each, in memory of its own."""
        pixels_GCHW = torch.stack([torch.from_numpy(image.pixels) for image in images])
        features_GPD = self.image_features(pixels_GCHW.to(self.score.weight.device))
        return [features_PD.clone() for features_PD in features_GPD]

    def pack(self, attention: TreeAttention) -> None:
        """Makes this a model of trees alone: its layers are taken away and repacked."""
        assert self._decoder is None, "a model is packed once"
        self._decoder = Decoder(self.llava.language_model, attention)

    def tree_rewards(
        self, tree: Tree, positions_AT: Ints, features: Sequence[Tensor | None]
    ) -> Tensor:
        """Returns the reward of each of a tree's rows, float32, [R].

        `features` holds each root's image tokens, or None, in order; they stand where the tree holds
        the image id. Rows that were cut inside their image take the first of them.
        """
        assert self._decoder is not None, "`pack` comes first"
        hidden_RD = self._decoder.last_hidden(
            tree,
            embeds_TD=tree_embeds(
                self.llava.language_model.embed_tokens,
                tree,
                features,
                image=self.config.image_token_id,
            ),
            position_ids=torch.from_numpy(positions_AT).to(self.score.weight.device),
        )
        return reward_of(hidden_RD, self.score)
