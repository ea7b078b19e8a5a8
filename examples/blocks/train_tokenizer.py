"""The reward models' tokenizer: one token for every word of the blocks world, letters for the rest.

Made, not trained: the words are those of the templates. Unknown words fall apart into characters,
characters outside ASCII into bytes.
"""

import re
import string

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from examples.blocks.facts import PLURALS, RELATIONS
from examples.blocks.phrases import FILLERS, GENERIC, LISTINGS, PHRASES, REFUSALS
from examples.blocks.scene import CELLS, COLORS, SHAPES, WORDS

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
UNK_ID, BOS_ID, EOS_ID, PAD_ID, IMAGE_ID = range(5)
_SPACE = "\u2581"  # marks the start of a word, as in Llama's tokenizer
_PROMPT_WORDS = ("Question:", "Answer:", "Yes No a no is are sign", "0 1 2 3 4 5 6 7 8 9")


def world_texts() -> list[str]:
    """Returns texts that hold every word of the world."""
    phrases = [phrase for styles in PHRASES.values() for phrase in styles.values()]
    texts = [text for phrase in (*phrases, *GENERIC) for text in (phrase.question, phrase.answer)]
    for listing in LISTINGS.values():
        texts += [listing.question, listing.opening, listing.item, listing.separator]
        texts.append(listing.closing)
    names = [*SHAPES, *PLURALS.values(), *COLORS, *WORDS, *CELLS, *RELATIONS]
    return [*texts, *names, *REFUSALS, *FILLERS, *_PROMPT_WORDS]


def build_tokenizer() -> Tokenizer:
    """Returns the tokenizer; the same on every call."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    texts = [re.sub(r"\{\w+\}", " ", text) for text in world_texts()]
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    characters = {_SPACE, "\n", *string.printable[:95]}
    in_bytes = [f"<0x{value:02X}>" for value in range(256)]
    pieces = [*SPECIAL_TOKENS, *in_bytes, *sorted(characters), *sorted(words - characters)]
    pieces.append(f"{_SPACE}\n")
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[],
            unk_token=SPECIAL_TOKENS[UNK_ID],
            byte_fallback=True,
            ignore_merges=True,  # a word of the vocabulary is one token
        )
    )
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")]
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer
