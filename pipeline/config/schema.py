"""The config of a curation.

Precedence: defaults < file < `A2L__SELECTION__QUESTION_KEEP=0.3` < `--set selection.question_keep=0.3`.
The bearer key is `A2L__API_KEY` and is never part of the config.
"""

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from align2llava.clients.address import Address, address_of
from align2llava.clients.key import checked_key
from align2llava.pipeline.config.loader import ENV_PREFIX, read_config
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.proxies import proxy_of
from align2llava.pipeline.yaml_text import MAX_DIGITS, is_bounded

API_KEY = "A2L__API_KEY"


def _share(value: object) -> object:
    """Returns a share for pydantic to read; refuses what stands for one in other words."""
    text = str(value).strip() if isinstance(value, str | int | float | Decimal) else ""
    number = text.removesuffix("%")
    example = Decimal("0.3")
    try:
        share = Decimal(number)
        if not is_bounded(share):
            raise ValueError(f"a share has at most {MAX_DIGITS} digits")
        if text == number and 0 <= share <= 1 and not isinstance(value, bool):
            return value
        if text != number or share >= 2:
            example = share / 100 if 0 <= share <= 100 else example
    except ArithmeticError:
        pass
    raise ValueError(f"a share is a number between 0 and 1; write such as {example:f}")


Keep = Annotated[Decimal, BeforeValidator(_share)]
Share = Annotated[float, BeforeValidator(_share)]
Keeps = Keep | dict[str, Keep]
Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class InputPath(_Section):
    """One input file; `type` "auto" = that of the whole input."""

    path: Path
    type: Annotated[str, Field(min_length=1)] = "auto"


class InputConfig(_Section):
    """What is curated. Texts and images over a limit are quarantined as `too_large`.

    A link below `images_root` may lead below one of `link_roots` too.
    """

    path: Path | Annotated[list[Path | InputPath], Field(min_length=1)]
    images_root: Path = Path()
    link_roots: list[Path] = []
    format: Literal["auto", "json", "jsonl"] = "auto"
    type: Annotated[str, Field(min_length=1)] = "auto"
    text_only: Literal["drop", "keep"] = "drop"
    max_text_chars: Positive = 65_536  # of all turns of a record together
    max_image_bytes: Positive = 20 * 2**20
    max_pixels: Positive = 40_000_000

    def files(self) -> tuple[InputPath, ...]:
        """Returns the input files in order, each with its type."""
        paths = self.path if isinstance(self.path, list) else [self.path]
        return tuple(
            InputPath(path=path, type=self.type)
            if isinstance(path, Path)
            else InputPath(path=path.path, type=self.type if path.type == "auto" else path.type)
            for path in paths
        )


class EndpointConfig(_Section):
    """One service, or several replicas of it; `batch_items` rows go out in one request.

    `max_in_flight` bounds the calls at once to each replica; how many are good is found out.
    """

    url: str | Annotated[list[str], Field(min_length=1)]
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    max_in_flight: Positive = 16
    batch_items: Positive = 32

    @model_validator(mode="after")
    def _urls_of_services(self) -> Self:
        for url in self.urls():
            address_of(url)
        if (self.cert_file is None) is not (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self

    def urls(self) -> tuple[str, ...]:
        """Returns the URL of each replica."""
        return (self.url,) if isinstance(self.url, str) else tuple(self.url)


class EndpointsConfig(_Section):
    """The three services; one that no stage needs may be left out."""

    question_reward: EndpointConfig | None = None
    answer_reward: EndpointConfig | None = None
    inner_llm: EndpointConfig | None = None


class SelectionConfig(_Section):
    """Which stages select, and the share each keeps: one number, or one for each stratum."""

    question: bool = True
    answer: bool = True
    question_keep: Keeps = Decimal("0.3")
    answer_keep: Keeps = Decimal("0.3")
    stratum: Literal["type", "none"] = "type"


class AlignmentConfig(_Section):
    """Rewrite and review of kept turns.

    A rewritten answer is `length_ratio` times longer or shorter than the original at most.
    `max_tokens` 0 = bounded by the length of the prompt.
    """

    rewrite: bool = True
    review: bool = True
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.0
    max_tokens: Annotated[int, Field(ge=0)] = 0
    length_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0


class RunConfig(_Section):
    """How a run goes: `limit` 0 = all records; `quarantine_limit` is a share of the input.

    `canaries` items of each reward service are asked for again in between. One that moves by more than
    `canary_tolerance` standard deviations of the rewards ends the run.
    Records of one image that lie within `window_records` of each other are asked for together.
    What was answered is on disk after `commit_seconds` at most: a killed run loses no more.
    `scratch` is a folder for what can be made again; none = one of the user's caches.
    """

    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] = 0
    quarantine_limit: Share = 0.05
    limit: Annotated[int, Field(ge=0)] = 0
    canaries: Annotated[int, Field(ge=0, le=1000)] = 16
    canary_tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    window_records: Positive = 4096
    commit_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    scratch: Path | None = None


class Config(_Section):
    """The whole, resolved: every path absolute, every default filled in."""

    input: InputConfig
    endpoints: EndpointsConfig = EndpointsConfig()
    selection: SelectionConfig = SelectionConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _endpoints_of_stages(self) -> Self:
        needed = {
            "question_reward": self.selection.question,
            "answer_reward": self.selection.answer,
            "inner_llm": self.alignment.rewrite,
        }
        for name, is_needed in needed.items():
            if is_needed and getattr(self.endpoints, name) is None:
                raise ValueError(f"endpoints.{name} is missing and a stage that is on needs it")
        return self


def load_config(
    path: Path, *, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """Returns the config of a file with environment and `--set a.b=v` over it.

    `environ` None = the process's own environment.

    Raises:
        ConfigError: no such file, no YAML, an unknown key or `A2L__` name, or a value out of range.
    """
    variables = {
        name: value
        for name, value in (os.environ if environ is None else environ).items()
        if name.startswith(ENV_PREFIX) and name != API_KEY
    }
    return read_config(path, Config, variables=variables, sets=sets)


def api_key() -> str | None:
    """Returns the bearer key of the services from the environment, None where there is none.

    Raises:
        ConfigError: it cannot be sent; the message does not hold it.
    """
    try:
        return checked_key(os.environ.get(API_KEY) or None)
    except ValueError as error:
        raise ConfigError(f"{API_KEY}: {error}") from error


def proxy_for(address: Address) -> str | None:
    """Returns the URL of the proxy that the environment names for an address, None where none is.

    Raises:
        ConfigError: it is no `http://` proxy.
    """
    return proxy_of(address, os.environ)


def dump_config(config: Config) -> str:
    """Returns the config as YAML that `load_config` reads back to the same config."""
    return yaml.dump(_plain(config.model_dump()), Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes decimals as they were read."""


_Dumper.add_representer(
    Decimal,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:f}"),
)


def _plain(node: object) -> object:
    if isinstance(node, Path):
        return str(node)
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node
