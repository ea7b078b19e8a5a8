"""The inner LLM's tokenizer: chat prompts and verbatim texts become token ids. Knows no engine."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from align2llava.services.engines.api import ChatMessage
from align2llava.services.errors import InvalidRequestError


class PromptTokenizer:
    """Encodes in one thread of its own: too slow for the event loop, not safe to share."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = [
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        ]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Returns the tokenizer of a Hugging Face checkpoint directory.

        Raises:
            ValueError: it has no chat template.
        """
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        if tokenizer.chat_template is None:
            raise ValueError(f"{model_dir} has no chat template")
        tokenizer.model_max_length = sys.maxsize  # the engine refuses what is too long, by count
        return cls(tokenizer)

    @property
    def chat_template(self) -> str:
        """The Jinja source of the chat template."""
        return str(self._tokenizer.chat_template)

    async def chat_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Returns the ids of a chat prompt, up to where the assistant starts to speak.

        Raises:
            InvalidRequestError: a message spells a special token of this model, such as `</s>`.
        """
        return await self._in_thread(partial(self._chat_ids, messages))

    async def verbatim_ids(self, text: str) -> list[int]:
        """Returns the ids of `text` alone; what spells a special token is text."""
        return await self._in_thread(partial(self._verbatim_ids, text))

    @property
    def bos_ids(self) -> list[int]:
        """The token before every sequence, or nothing where the model has none."""
        bos_id = self._tokenizer.bos_token_id
        return [bos_id] if isinstance(bos_id, int) else []

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    async def _in_thread(self, encode: Callable[[], list[int]]) -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, encode)

    def _chat_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        for number, message in enumerate(messages):
            self._refuse_special_tokens(number, message)
        text = self._tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            tokenize=False,
        )
        return list(self._tokenizer(str(text), add_special_tokens=False)["input_ids"])

    def _refuse_special_tokens(self, number: int, message: ChatMessage) -> None:
        for token in self._special_tokens:
            if token in message.content:
                raise InvalidRequestError(f"message {number} spells the special token {token}")

    def _verbatim_ids(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])
