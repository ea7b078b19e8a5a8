from random import Random

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from examples.blocks.alignment_examples import review_example, rewrite_example
from examples.blocks.train_inner_batches import IGNORED, encode
from examples.blocks.train_inner_student import Student, num_targets
from examples.blocks.train_inner_tokenizer import build_tokenizer

pytestmark = pytest.mark.timeout(120)  # the import of transformers, on a busy machine
TOKENIZER = build_tokenizer(max_length=1024)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(
        LlamaConfig(
            vocab_size=len(TOKENIZER),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=1,
            tie_word_embeddings=True,
        )
    )


def test_loss_of_rewrites_is_that_of_the_whole_logits(student: Student):
    batch = encode([rewrite_example(Random(seed)) for seed in range(4)], TOKENIZER)
    logits = student.llama(input_ids=batch.ids_BT).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert student.rewrite_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_loss_of_a_review_teaches_the_llama(student: Student):
    batch = encode([review_example(Random(seed)) for seed in range(4)], TOKENIZER)
    losses = student.review_losses(batch)
    assert set(losses) == {"review", "version", "aligned", "news"}
    layer = student.llama.model.layers[0]
    assert isinstance(layer, LlamaDecoderLayer)
    first_layer = layer.self_attn.q_proj.weight
    for loss in losses.values():
        (gradient,) = torch.autograd.grad(loss, first_layer, retain_graph=True)
        assert torch.isfinite(loss)
        assert gradient.abs().sum() > 0


def test_ignored_places_are_no_targets():
    assert num_targets(torch.tensor([[IGNORED, 0], [3, IGNORED]])) == 2
