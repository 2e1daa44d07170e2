"""What stands behind the figures of a GPU profile: the hardware, the model, sources, and the error of the fit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Basis = Literal["measured", "estimated", "roofline", "published"]
"""Where the timing comes from: timings of real GPUs; such timings and an estimate of what they leave open; the public
specifications of the hardware; a publication that does not say how it got them."""


class FitError(BaseModel):
    """How far a profile is from the iterations of one kind that it was fitted to.

    Attributes
    ----------
    mean_error : float
        Mean of the absolute relative error.
    samples : int, optional
        Iterations of this kind.
    worst_error : float, optional
        The largest relative error, signed: above 0 the profile is slower than what was measured.
    worst_at : str, optional
        The iteration where that is, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean_error: float = Field(ge=0)
    samples: int | None = Field(default=None, gt=0)
    worst_error: float | None = Field(default=None, ge=-1)
    worst_at: str | None = None


class FitErrors(BaseModel):
    """Errors by kind of iteration; None where there were none of a kind.

    Attributes
    ----------
    r2 : float, optional
        Over all iterations that were fitted.
    from_tokens : int
        The fit is to iterations of at least this many tokens, decoded and prefilled together.
    decode, prefill, mixed : FitError, optional
        Over those.
    below : FitError, optional
        Over the smaller ones, which the fit leaves out.
    fullest : FitError, optional
        Over those with prefill that hold the most tokens, which bound what a replica can take: where prefill has a
        knee, a line that also has to pass through small chunks misses them to one side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    r2: float | None = Field(default=None, le=1)
    from_tokens: int = Field(default=1, gt=0)
    decode: FitError | None = None
    prefill: FitError | None = None
    mixed: FitError | None = None
    below: FitError | None = None
    fullest: FitError | None = None

    @property
    def by_kind(self) -> dict[str, FitError]:
        """The kinds that were fitted, decode first."""
        kinds = {"decode": self.decode, "prefill": self.prefill, "mixed": self.mixed}
        return {name: error for name, error in kinds.items() if error is not None}

    @property
    def mean_error(self) -> float:
        """The largest mean error among the kinds that were fitted."""
        return max((error.mean_error for error in self.by_kind.values()), default=0.0)

    @property
    def worst_error(self) -> float | None:
        """The largest error among the kinds that were fitted, signed; None where none is known."""
        known = (error.worst_error for error in self.by_kind.values() if error.worst_error is not None)
        return max(known, key=abs, default=None)


class Sources(BaseModel):
    """Where each group of a profile's figures comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    timing: str = Field(min_length=1)
    kv: str = Field(min_length=1)
    limits: str = Field(min_length=1)
    price: str = Field(min_length=1)


class Evidence(BaseModel):
    """The table ``[evidence]`` of a profile's file.

    Attributes
    ----------
    gpu, model : str
        What was timed.
    basis : {"measured", "estimated", "roofline", "published"}
    sources : Sources
        Of timing, KV capacity, limits and price.
    fit : FitErrors, optional
        Error of the fit, where the profile was fitted and it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    gpu: str = Field(min_length=1)
    model: str = Field(min_length=1)
    basis: Basis
    sources: Sources
    fit: FitErrors | None = None
