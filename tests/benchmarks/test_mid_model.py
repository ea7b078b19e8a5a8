import pytest
import torch
from PIL import Image
from transformers import LlamaConfig

from align2llava.services.reward_model.llava.checkpoint import read_reward
from align2llava.services.reward_model.tokens.pixels import pixels_CHW
from align2llava.services.reward_model.weight_files import weight_files
from align2llava.services.reward_model.weights import sha256_of
from benchmarks.mid_model import write_mid_model


@pytest.mark.timeout(60)
def test_mid_model_is_of_the_stated_size_and_scores(tmp_path):
    torch.set_num_threads(1)
    write_mid_model(tmp_path, kind="question-reward", seed=0)
    checkpoint = read_reward(tmp_path, device="cpu", dtype="float32")
    row = checkpoint.encoder.encode("Is there a red circle?", has_image=True)
    assert row.ids.count(checkpoint.encoder.special.image) == 576
    config = checkpoint.model.config.text_config
    assert isinstance(config, LlamaConfig)
    assert (config.hidden_size, config.num_hidden_layers) == (512, 8)
    pixels = torch.from_numpy(pixels_CHW(Image.new("RGB", (50, 60), "red"), checkpoint.pixels))
    ids = torch.tensor([row.ids])
    with torch.inference_mode():
        features = checkpoint.model.image_features(pixels.unsqueeze(0))
        assert torch.isfinite(checkpoint.model(ids, torch.ones_like(ids), features)).all()


@pytest.mark.timeout(60)
def test_the_seed_decides_the_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_mid_model(tmp_path / name, kind="answer-reward", seed=seed)
    first, same, other = (sha256_of(weight_files(tmp_path / name)) for name in "abc")
    assert first == same
    assert first != other
