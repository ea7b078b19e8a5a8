"""The inner LLM's tokenizer: one token for each word of the blocks world, bytes for all else.

Made, not trained: the words are those of drawn examples. Things and cells that are named by two words
are one token ("red star", "bottom left"): to copy one is one act, not a choice of how to go on after
"red" or "bottom", which a model this small gets wrong where several things share a word. The tags and the two instructions of `services.engines.prompts` are tokens of their own, so a prompt costs about
what its turns cost; text that says anything else still encodes, byte by byte, and decodes to itself.
"""

import re
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align2llava.services.engines.prompts import REVIEW_INSTRUCTION, REWRITE_INSTRUCTION
from examples.blocks.alignment_examples import review_example, rewrite_example
from examples.blocks.scene import CELLS, COLORS, SHAPES, WORDS

PAD, BOS, EOS, USER, ASSISTANT, SYSTEM = (
    "<pad>",
    "<s>",
    "</s>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
)
SPECIAL_TOKENS = (PAD, BOS, EOS, USER, ASSISTANT, SYSTEM)
PAD_ID, BOS_ID, EOS_ID = range(3)
QUESTION_TAG = "<question>"
WHOLE_TEXTS = (
    QUESTION_TAG,
    "</question>",
    "<answer>",
    "</answer>",
    REWRITE_INSTRUCTION,
    REVIEW_INSTRUCTION,
)
NAMES = (
    *(cell for cell in CELLS if " " in cell),
    *(f"{color} {shape}" for color in COLORS for shape in SHAPES),
    *(f"{word} sign" for word in WORDS),
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_NUM_DRAWN = 4000
# A name, else what GPT-2 takes as a piece.
# Source: github.com/openai/gpt-2, src/encoder.py
_PIECE = (
    rf" ?(?:{'|'.join(NAMES)})(?!\p{{L}})"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
_WHOLE = re.compile("|".join(re.escape(text) for text in WHOLE_TEXTS))


def build_tokenizer(*, max_length: int) -> PreTrainedTokenizerFast:
    """Returns the tokenizer with its chat template; the same on every call."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *_words(splitter)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    # With no merges and `ignore_merges`, what is a word is one token, and what is not is bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in WHOLE_TEXTS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _words(splitter: pre_tokenizers.Sequence) -> list[str]:
    rng = Random(0)
    words: set[str] = set()
    for draw in (rewrite_example, review_example):
        for _ in range(_NUM_DRAWN):
            example = draw(rng)
            for text in (example.messages[0].content, example.completion):
                for part in _WHOLE.split(text):
                    words.update(piece for piece, _ in splitter.pre_tokenize_str(part))
    return sorted(words)
