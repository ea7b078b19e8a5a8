"""The shape of the small LLaVA of the blocks world: one image token for each cell."""

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings
from examples.blocks.train_tokenizer import BOS_ID, EOS_ID, IMAGE_ID, PAD_ID

PATCH_PX = 24
MAX_LENGTH = 256
PIXELS = PixelSettings(mode=ImageMode.SQUARE, size=3 * PATCH_PX)


def llava_config(vocab_size: int) -> LlavaConfig:
    """Returns the configuration: CLIP of 2 layers, Llama of 4; head sizes that vLLM takes."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=PIXELS.size,
        patch_size=PATCH_PX,
        projection_dim=96,
    )
    text = LlamaConfig(
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=vocab_size,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        rms_norm_eps=1e-5,
        initializer_range=0.08,  # 1 over the root of the hidden size: 0.02 is for large models
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        image_seq_length=9,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )
