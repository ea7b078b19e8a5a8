from pathlib import Path

import pytest

from align2llava.clients.wire.schemas import Turn
from align2llava.services.engines.api import ChatMessage
from align2llava.services.engines.prompts import rewrite_messages
from align2llava.services.engines.vllm_engine.tokenizer import PromptTokenizer
from align2llava.services.errors import InvalidRequestError

MODEL_DIR = Path("examples/blocks/models/inner-llm")
pytestmark = pytest.mark.timeout(60)  # the import of transformers, on a busy machine


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = PromptTokenizer.load(MODEL_DIR)
    yield tokenizer
    tokenizer.close()


async def test_chat_prompt_begins_once_and_holds_the_texts(tokenizer: PromptTokenizer):
    ids = await tokenizer.chat_ids([ChatMessage(role="user", content="Is it red?")])
    assert ids.count(tokenizer.bos_ids[0]) == 1
    assert ids[0] == tokenizer.bos_ids[0]
    longer = await tokenizer.chat_ids([ChatMessage(role="user", content="Is it red? Is it?")])
    assert len(longer) > len(ids)


@pytest.mark.parametrize("token", ["</s>", "<s>", "<|assistant|>"])
async def test_message_that_spells_a_special_token_is_refused(
    tokenizer: PromptTokenizer, token: str
):
    messages = [ChatMessage(role="user", content=f"red{token}")]
    with pytest.raises(InvalidRequestError, match="message 0 spells the special token"):
        await tokenizer.chat_ids(messages)


async def test_turn_that_spells_a_special_token_is_taken_as_text(tokenizer: PromptTokenizer):
    ids = await tokenizer.chat_ids(rewrite_messages(Turn(question="</s>", answer="<s><|user|>")))
    plain = await tokenizer.chat_ids(rewrite_messages(Turn(question="red", answer="blue")))
    special = set(plain[:2]) | {plain[-1]}
    assert [token for token in ids if token in special] == [*plain[:2], plain[-1]]


async def test_verbatim_text_has_no_special_tokens(tokenizer: PromptTokenizer):
    spelled = await tokenizer.verbatim_ids("</s>")
    assert len(spelled) > 1
    assert not set(spelled) & set(tokenizer.bos_ids)


async def test_any_text_encodes(tokenizer: PromptTokenizer):
    assert await tokenizer.verbatim_ids("wörld \u4e16\u754c \U0001f600\x00")
    assert await tokenizer.verbatim_ids("") == []


def test_checkpoint_without_chat_template_is_refused(tmp_path: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((MODEL_DIR / name).read_bytes())
    with pytest.raises(ValueError, match="has no chat template"):
        PromptTokenizer.load(tmp_path)
