"""The settings of one service process: environment variables named `A2L_*`, read once at start.

The variable of a field is its name in capitals behind `A2L_` (`max_pixels`: `A2L_MAX_PIXELS`).
Names that begin with `A2L__` belong to the driver and are ignored here. Knows no transport.
"""

import difflib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from align2llava.clients.wire.decoding import MAX_IMAGE_BYTES, MAX_PIXELS
from align2llava.clients.wire.kinds import ServiceKind

EngineName = Literal["torch", "vllm", "fake"]

PREFIX = "A2L_"
DRIVER_PREFIX = "A2L__"
MIB = 2**20

_GRPC_PORTS: dict[ServiceKind, int] = {
    "question-reward": 50051,
    "answer-reward": 50052,
    "inner-llm": 50053,
}
_ENGINES: dict[ServiceKind, tuple[EngineName, ...]] = {
    "question-reward": ("torch", "vllm", "fake"),
    "answer-reward": ("torch", "vllm", "fake"),
    "inner-llm": ("vllm", "fake"),
}
_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "torch": ("torch", "transformers"),
    "vllm": ("vllm",),
    "fake": (),
}
_VISION_PACKAGES = ("torchvision",)  # what the reward services need beside for `vllm`

Positive = Annotated[int, Field(gt=0)]


class SettingsError(Exception):
    """A variable is unknown, missing or outside its range; the message names it."""


class Settings(BaseModel):
    """What one service process is told; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ServiceKind
    """Set by the service itself, not by a variable."""
    engine: EngineName
    """`torch` (the default) or `vllm` for the reward services, `vllm` for inner-llm; `fake` for tests."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)]
    """50051, 50052, 50053 by service; 0 takes a free one and logs it."""
    model_dir: Path = Path()
    """The checkpoint; needed by every engine but `fake`."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """`cpu`, `cuda`, or `cuda:1` where the engine is torch; for vLLM, CUDA_VISIBLE_DEVICES chooses the GPU."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The type of weights and activations."""
    num_threads: Positive = 1
    """Threads of torch on CPU; fixed, because rewards may depend on it in the last bit."""
    load_timeout_s: Positive = 1_800
    """Time in which the model must have loaded and answered once; after it the service is not alive."""
    max_model_len: Annotated[int, Field(ge=0)] = 0
    """Tokens of a prompt of inner-llm and its completion; 0 is what the model has, at most 8192."""
    kv_cache_bytes: Annotated[int, Field(ge=0)] = 0
    """Keys and values of inner-llm; 0 is 1 GiB on a CPU, and on a GPU what the next setting leaves."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a GPU's memory that inner-llm takes, weights included; less where other services share the GPU."""

    max_image_bytes: Positive = MAX_IMAGE_BYTES
    """Encoded bytes of one image."""
    max_pixels: Positive = MAX_PIXELS
    """Width times height of one image, checked before it is decoded."""
    max_decode_ms: Positive = 5_000
    """Time in which one image must be decoded."""
    num_decode_threads: Positive = 2
    """Images decoded at once, and groups prepared at once."""
    max_cache_bytes: Annotated[int, Field(ge=0)] = 256 * MIB
    """Decoded images kept by hash; 0 keeps none."""
    max_text_chars: Positive = 32_768
    """Characters of all texts of one item."""

    max_body_bytes: Positive = 64 * MIB
    """One REST body or gRPC message, in either direction."""
    max_request_items: Positive = 1_024
    """Items of one request."""
    max_queue_items: Positive = 4_096
    """Items accepted and not answered yet; above it the service answers `overloaded`."""
    max_queue_bytes: Positive = 512 * MIB
    """Bytes of the requests that hold those items."""
    max_queue_batches: Annotated[float, Field(gt=0)] = 0.75
    """Work ahead of a request of the reward services, in full batches, above which they answer `overloaded`; what runs counts twice."""
    max_batch_tokens: Positive = 16_384
    """Tokens of one batch of the reward services, shared beginnings counted once; a larger group is computed in parts."""
    max_wait_ms: Annotated[float, Field(ge=0)] = 2.0
    """How long a batch with room waits for jobs that are being prepared."""
    max_feature_bytes: Annotated[int, Field(ge=0)] = 256 * MIB
    """Image features kept by hash in the device's memory; 0 keeps none."""
    long_text: Literal["truncate", "refuse"] = "truncate"
    """What becomes of an item beyond the model's context: scored without its end and marked `truncated`, or refused as `too_large`."""
    default_deadline_ms: Positive = 60_000
    """For callers that state no deadline."""
    drain_ms: Positive = 30_000
    """After SIGTERM, how long accepted gRPC requests may take to finish."""
    max_connection_age_ms: Positive = 300_000
    """After which a gRPC connection is asked to reconnect, so that new pods get their share."""

    api_keys_file: Path = Path()
    """Bearer keys, one a line; without it the service binds loopback only."""
    tls_cert_file: Path = Path()
    """The certificate chain of both surfaces, PEM."""
    tls_key_file: Path = Path()
    """Its private key, PEM."""
    tls_client_ca_file: Path = Path()
    """Clients must show a certificate that this CA signed, PEM."""
    allow_open: bool = False
    """Serves every interface without keys."""
    allow_text_only: bool = False
    """Scores groups without an image."""

    @model_validator(mode="after")
    def _device_of_engine(self) -> Self:
        if self.engine == "vllm" and ":" in self.device:
            raise ValueError(
                f"A2L_DEVICE is {self.device!r}: vLLM takes the first GPU it sees; set 'cuda' and "
                "choose by CUDA_VISIBLE_DEVICES"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine not in _ENGINES[self.kind]:
            allowed = ", ".join(_ENGINES[self.kind])
            raise ValueError(
                f"A2L_ENGINE is {self.engine!r}; {self.kind} runs on one of: {allowed}"
            )
        if self.engine != "fake" and not is_set(self.model_dir):
            raise ValueError(f"A2L_MODEL_DIR is not set; engine {self.engine!r} needs a checkpoint")
        if self.engine != "fake" and not self.model_dir.is_dir():
            raise ValueError(f"A2L_MODEL_DIR: there is no directory {str(self.model_dir)!r}")
        if is_set(self.tls_cert_file) != is_set(self.tls_key_file):
            raise ValueError("A2L_TLS_CERT_FILE and A2L_TLS_KEY_FILE are needed together")
        if is_set(self.tls_client_ca_file) and not is_set(self.tls_cert_file):
            raise ValueError("A2L_TLS_CLIENT_CA_FILE needs A2L_TLS_CERT_FILE")
        for name in ("api_keys_file", "tls_cert_file", "tls_key_file", "tls_client_ca_file"):
            path: Path = getattr(self, name)
            if is_set(path) and not path.is_file():
                raise ValueError(f"{variable_of(name)}: there is no file {str(path)!r}")
        return self


def refuse_uninstalled(settings: Settings) -> None:
    """Refuses an engine whose packages this environment lacks.

    Raises:
        SettingsError: names them.
    """
    is_vision = settings.engine == "vllm" and settings.kind != "inner-llm"
    needed = _PACKAGES[settings.engine] + (_VISION_PACKAGES if is_vision else ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        hint = "on CPU: make venv-vllm-vision" if is_vision else "make install"
        raise SettingsError(
            f"A2L_ENGINE is {settings.engine!r}, for which {settings.kind} needs "
            f"{' and '.join(missing)}: not installed here ({hint})"
        )


def is_set(path: Path) -> bool:
    """Returns whether a path setting was given."""
    return path != Path()


def variable_of(field: str) -> str:
    """Returns the environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


def load_settings(kind: ServiceKind, environ: Mapping[str, str] = os.environ) -> Settings:
    """Returns the settings of a service of this kind; an empty variable counts as unset.

    Raises:
        SettingsError: a variable is unknown, missing or outside its range.
    """
    known = {variable_of(name): name for name in Settings.model_fields if name != "kind"}
    values: dict[str, object] = {
        "kind": kind,
        "engine": _ENGINES[kind][0],
        "grpc_port": _GRPC_PORTS[kind],
    }
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(DRIVER_PREFIX):
            continue
        if variable not in known:
            raise SettingsError(_unknown(variable, list(known)))
        if value:
            values[known[variable]] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_described(error)) from error
    except OSError as error:  # no file system holds such a name
        raise SettingsError(f"{error.filename}: {error.strerror}") from error


def _unknown(variable: str, known: list[str]) -> str:
    close = difflib.get_close_matches(variable, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown environment variable {variable}{hint}"


def _described(error: ValidationError) -> str:
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_context=False):
        message = detail["msg"].removeprefix("Value error, ")
        if detail["loc"]:
            message = f"{variable_of(str(detail['loc'][0]))} is {detail['input']!r}: {message}"
        lines.append(message)
    return "; ".join(lines)
