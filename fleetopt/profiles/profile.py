"""A GPU profile: the timing, memory and price of one replica."""

import tomllib
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleetopt.errors import InputError, one_line
from fleetopt.profiles.evidence import Evidence


class GpuProfile(BaseModel):
    """One replica of an inference engine: how long an iteration takes, what fits, what it costs.

    An iteration lasts ``base_s + sum over decoding sequences (per_sequence_s + per_context_token_s * context)
    + sum over prefill chunks (per_prefill_token_s * k + per_prefill_attention_s * k * (context_before + k / 2))``,
    where ``k`` is the chunk's length in tokens.

    Attributes
    ----------
    base_s, per_sequence_s, per_context_token_s, per_prefill_token_s, per_prefill_attention_s : float
        Coefficients of the iteration time, seconds (W, a, b, p, q).
    prefill_only_base_s, prefill_only_per_token_s, prefill_only_per_attention_s : float
        The same W, p, q for an iteration that holds prefill chunks and no decode step; default: the ones above.
    kv_blocks, block_tokens : int
        KV cache capacity in blocks, and tokens per block.
    max_sequences : int
        Most sequences running at once.
    max_batched_tokens : int
        Token budget of one iteration.
    max_chunk_tokens : int
        Most prompt tokens of one request in one iteration; default ``max_batched_tokens``.
    max_context_tokens : int
        Most tokens, prompt and output together, of a request; default the whole KV cache.
    gpus_per_replica : int
    usd_per_gpu_hour : float
    source : str
        Where the figures come from.
    caveat : str
        What a recommendation made from this profile has to say about it; empty when there is nothing to say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    name: str = Field(min_length=1)
    base_s: float = Field(ge=0)
    per_sequence_s: float = Field(ge=0)
    per_context_token_s: float = Field(ge=0)
    per_prefill_token_s: float = Field(ge=0)
    per_prefill_attention_s: float = Field(ge=0)
    prefill_only_base_s: float = Field(default=-1.0, ge=0)
    prefill_only_per_token_s: float = Field(default=-1.0, ge=0)
    prefill_only_per_attention_s: float = Field(default=-1.0, ge=0)
    kv_blocks: int = Field(gt=0)
    block_tokens: int = Field(gt=0)
    max_sequences: int = Field(gt=0)
    max_batched_tokens: int = Field(gt=0)
    max_chunk_tokens: int = Field(default=0, gt=0)
    max_context_tokens: int = Field(default=0, gt=0)
    gpus_per_replica: int = Field(default=1, gt=0)
    usd_per_gpu_hour: float = Field(default=0.0, ge=0)
    source: str = ""
    caveat: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: object) -> object:
        """Defaults that depend on other keys; wrong or missing keys are left for field validation to name."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for key, base in (
            ("prefill_only_base_s", "base_s"),
            ("prefill_only_per_token_s", "per_prefill_token_s"),
            ("prefill_only_per_attention_s", "per_prefill_attention_s"),
            ("max_chunk_tokens", "max_batched_tokens"),
        ):
            if base in filled:
                filled.setdefault(key, filled[base])
        blocks, tokens = filled.get("kv_blocks"), filled.get("block_tokens")
        if isinstance(blocks, int) and isinstance(tokens, int):
            filled.setdefault("max_context_tokens", blocks * tokens)
        return filled

    @model_validator(mode="after")
    def _iterations_take_time(self) -> Self:
        costs = (self.base_s, self.per_sequence_s, self.per_context_token_s, self.per_prefill_token_s)
        if not any(costs):
            raise ValueError("base_s and all per-token times are 0: no iteration would take any time")
        return self

    @property
    def kv_tokens(self) -> int:
        """KV cache capacity, tokens."""
        return self.kv_blocks * self.block_tokens

    @property
    def usd_per_replica_hour(self) -> float:
        """Price of one replica, USD per hour."""
        return self.gpus_per_replica * self.usd_per_gpu_hour

    @property
    def context_limit_tokens(self) -> int:
        """Longest request, prompt and output together, that this replica accepts."""
        return min(self.max_context_tokens, self.kv_tokens)


class ProfileFile(NamedTuple):
    """A profile and what stands behind it; a file of one's own need not say."""

    profile: GpuProfile
    evidence: Evidence | None


def parse_profile(text: str, where: str) -> GpuProfile:
    """Read a profile from TOML text.

    Parameters
    ----------
    text : str
        TOML with the keys of :class:`GpuProfile`, and a table ``[evidence]`` that may be left out.
    where : str
        File name, for messages.

    Raises
    ------
    InputError
        If the text is not TOML or a key is unknown, missing or out of range.
    """
    return parse_profile_file(text, where).profile


def parse_profile_file(text: str, where: str) -> ProfileFile:
    """Read a profile and its evidence, :class:`Evidence`, from TOML text.

    Parameters
    ----------
    text, where : str
        As for :func:`parse_profile`.

    Raises
    ------
    InputError
        The same.
    """
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    evidence = values.pop("evidence", None)
    try:
        profile = GpuProfile.model_validate(values)
    except ValidationError as error:
        raise InputError(one_line(error, where)) from error
    try:
        return ProfileFile(profile, None if evidence is None else Evidence.model_validate(evidence))
    except ValidationError as error:
        raise InputError(one_line(error, f"{where}: table [evidence]")) from error
