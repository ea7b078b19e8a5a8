"""Which inner LLM this is: hashes of a checkpoint's files, and the identity made of them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.reward_model.weight_files import refuse_other_weights, weight_files

KIND = "inner-llm"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHashes:
    """SHA-256 in hex: of the weights, and of each other file that decides what they compute."""

    weights_sha256: str
    files: dict[str, str]

    @classmethod
    def of(cls, model_dir: Path) -> Self:
        """Returns the hashes of a checkpoint directory; reads every byte of what vLLM will load.

        One file of weights is hashed as it is; several by their names and hashes, in order.

        Raises:
            CheckpointError: vLLM would load something else or in another way: a file beside the
                weights, one that is broken, a tensor that stands twice, float8 without its scales.
        """
        refuse_other_weights(model_dir)
        shards = weight_files(model_dir)
        hashes = [_sha256(shard) for shard in shards]
        weights = hashes[0]
        if len(shards) > 1:
            named = "".join(
                f"{shard.name} {digest}\n" for shard, digest in zip(shards, hashes, strict=True)
            )
            weights = hashlib.sha256(named.encode()).hexdigest()
        deciding = ["config.json", "chat_template.jinja", *_tokenizer_names(model_dir)]
        present = [name for name in deciding if (model_dir / name).is_file()]
        return cls(
            weights_sha256=weights, files={name: _sha256(model_dir / name) for name in present}
        )


def identity_of(
    hashes: CheckpointHashes,
    *,
    name: str,
    dtype: str,
    template_version: str,
    engine: str,
    purpose: str,
) -> ModelIdentity:
    """Returns the identity of an inner LLM.

    `name`, `engine` and `purpose`, which its card tells, do not enter its `identity`.
    """
    deciding = json.dumps(
        [KIND, hashes.weights_sha256, dtype, template_version, sorted(hashes.files.items())]
    )
    return ModelIdentity(
        name=name,
        kind=KIND,
        identity=hashlib.blake2b(deciding.encode(), digest_size=16).hexdigest(),
        weights_sha256=hashes.weights_sha256,
        dtype=dtype,
        template_version=template_version,
        engine=engine,
        purpose=purpose,
    )


def _tokenizer_names(model_dir: Path) -> list[str]:
    return sorted(
        path.name
        for pattern in ("tokenizer*", "special_tokens*")
        for path in model_dir.glob(pattern)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
