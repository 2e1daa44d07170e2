"""GPU profiles as tables for the terminal, and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.profiles import Evidence, FitErrors, GpuProfile, ProfileFile
from fleetopt.profiles.times import decode_s, prefill_s
from fleetopt.reporting import formatting

_CONTEXT, _FEW, _MANY, _PROMPT = 1024, 1, 64, 1024
_SEQUENCES = (1, 8, 32, 64, 128, 256)
_CONTEXTS = (128, 512, 1024, 2048, 4096, 8192)
_MEANING = (
    "TP: GPUs that a replica spans. KV, Ctx: KV cache, and longest request, in thousands of tokens. Dec: ms of an "
    f"iteration in which {_FEW} or {_MANY} sequences at {_CONTEXT:,} tokens of context each decode. Prefill: ms until "
    f"an idle replica has computed a prompt of {_PROMPT:,} tokens. $: per GPU and hour. Fit: mean error in the kind of "
    "iteration that is fitted worst; `show` has the worst of all and where it is."
)
_UNITS = {
    "base_s": "s per iteration",
    "per_sequence_s": "s per decoding sequence",
    "per_context_token_s": "s per token of context read",
    "per_prefill_token_s": "s per prompt token",
    "per_prefill_attention_s": "s per prompt token x token it attends to",
    "prefill_only_base_s": "s per iteration without decode",
    "prefill_only_per_token_s": "s per prompt token, the same",
    "prefill_only_per_attention_s": "s per token x token, the same",
    "kv_blocks": "blocks",
    "block_tokens": "tokens",
    "max_sequences": "sequences",
    "max_batched_tokens": "tokens per iteration",
    "max_chunk_tokens": "tokens of a prompt per iteration",
    "max_context_tokens": "tokens per request",
    "gpus_per_replica": "GPUs",
    "usd_per_gpu_hour": "USD per GPU-hour",
}
_SOURCE_OF = {
    **{key: "timing" for key in _UNITS if key.endswith("_s")},
    "kv_blocks": "kv",
    "block_tokens": "kv",
    "usd_per_gpu_hour": "price",
}
"""The group of sources that a figure belongs to; the others are limits."""


def profiles_table(files: Sequence[ProfileFile]) -> RenderableType:
    """Profiles beside each other, a line each, those of a model together.

    Parameters
    ----------
    files : sequence of ProfileFile
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Profile", no_wrap=True)
    for name in ("TP", "KV\nk", "Ctx\nk", f"Dec\n{_FEW}", f"Dec\n{_MANY}", "Pre-\nfill", "$"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Basis", no_wrap=True)
    table.add_column("Fit", justify="right", no_wrap=True)
    model = None
    for file in sorted(files, key=lambda file: (_model(file), file.profile.name)):
        if _model(file) != model:
            model = _model(file)
            table.add_row(Text(model.rpartition("/")[2] or "model not told", style="bold"))
        table.add_row(*_row(file))
    return Padding(Group(table, Text(), Text(_MEANING, style="dim")), (1, 0))


def profiles_json(files: Sequence[ProfileFile]) -> list[dict[str, Any]]:
    """What the table says, unrounded, by name of the figure with its unit."""
    return [_record(file) for file in files]


def profile_page(file: ProfileFile) -> RenderableType:
    """One profile: every figure with its source, the error of its fit, and the iteration times that follow from it.

    Parameters
    ----------
    file : ProfileFile
    """
    profile, evidence = file
    parts: list[RenderableType] = [Text(profile.name, style="bold"), Text(profile.source or "no source given")]
    if evidence is not None:
        gpus = f"{profile.gpus_per_replica} x {evidence.gpu}"
        parts.append(Text(f"{evidence.model} on {gpus}; basis: {evidence.basis}"))
    if profile.caveat:
        parts.append(Text(f"Caution: {profile.caveat}.", style="yellow"))
    parts += [Text(), _figures_table(profile, evidence)]
    if evidence is not None:
        sources = evidence.sources.model_dump()
        parts += [Text(), *(Text(f"{group}: {text}", style="dim") for group, text in sources.items())]
        if evidence.fit is not None:
            parts += [Text(), *(Text(line) for line in fit_lines(evidence.fit))]
    heading = "Decode iteration in ms, sequences x context of each; - does not fit into the KV cache"
    parts += [Text(), Text(heading, style="bold"), _times_table(profile)]
    return Padding(Group(*parts), (1, 0))


def profile_json(file: ProfileFile) -> dict[str, Any]:
    """A profile, its evidence, and the iteration times of the page in seconds; null what does not fit."""
    profile, evidence = file
    return {
        "profile": profile.model_dump(),
        "evidence": None if evidence is None else evidence.model_dump(),
        "decode_iterations": [
            {"sequences": sequences, "context_tokens": context, "iteration_s": _time_s(profile, sequences, context)}
            for sequences in _SEQUENCES
            for context in _CONTEXTS
        ],
    }


def fit_lines(errors: FitErrors) -> list[str]:
    """The error of a fit in words, a line per kind of iteration."""
    over = f" over iterations of at least {errors.from_tokens} tokens" if errors.from_tokens > 1 else ""
    lines = [] if errors.r2 is None else [f"Fit: R2 {errors.r2:.3f}{over}"]
    kinds = dict(errors.by_kind)
    if errors.fullest is not None:
        kinds["full token budget"] = errors.fullest
    if errors.below is not None:
        kinds[f"fewer than {errors.from_tokens} tokens, left out"] = errors.below
    for kind, error in kinds.items():
        line = f"Fit, {kind}: mean error {formatting.percent(error.mean_error)}"
        if error.worst_error is not None:
            line += f", worst {100 * error.worst_error:+.1f} % at {error.worst_at}"
        lines.append(line + (f" ({error.samples} iterations)" if error.samples else ""))
    return lines


def _model(file: ProfileFile) -> str:
    return file.evidence.model if file.evidence else ""


def _row(file: ProfileFile) -> list[str]:
    profile, evidence = file
    return [
        profile.name,
        str(profile.gpus_per_replica),
        f"{profile.kv_tokens / 1000:.0f}",
        f"{profile.context_limit_tokens / 1000:.0f}",
        _milliseconds(decode_s(profile, _FEW, _CONTEXT)),
        _milliseconds(_time_s(profile, _MANY, _CONTEXT)),
        _milliseconds(prefill_s(profile, _PROMPT)),
        f"{profile.usd_per_gpu_hour:.2f}" if profile.usd_per_gpu_hour else formatting.MISSING,
        evidence.basis if evidence else formatting.MISSING,
        _fit_text(evidence),
    ]


def _fit_text(evidence: Evidence | None) -> str:
    return formatting.MISSING if evidence is None or evidence.fit is None else f"{evidence.fit.mean_error:.0%}"


def _record(file: ProfileFile) -> dict[str, Any]:
    profile, evidence = file
    fit = evidence.fit if evidence else None
    return {
        "name": profile.name,
        "gpu": evidence.gpu if evidence else None,
        "model": evidence.model if evidence else None,
        "gpus_per_replica": profile.gpus_per_replica,
        "kv_tokens": profile.kv_tokens,
        "max_context_tokens": profile.context_limit_tokens,
        f"decode_{_FEW}_at_{_CONTEXT}_s": decode_s(profile, _FEW, _CONTEXT),
        f"decode_{_MANY}_at_{_CONTEXT}_s": _time_s(profile, _MANY, _CONTEXT),
        f"prefill_{_PROMPT}_s": prefill_s(profile, _PROMPT),
        "usd_per_gpu_hour": profile.usd_per_gpu_hour or None,
        "basis": evidence.basis if evidence else None,
        "fit_mean_error": fit.mean_error if fit else None,
        "fit_worst_error": fit.worst_error if fit else None,
        "caveat": profile.caveat,
    }


def _figures_table(profile: GpuProfile, evidence: Evidence | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Figure", no_wrap=True)
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("Unit", overflow="fold")
    table.add_column("Source", no_wrap=True)
    for key, unit in _UNITS.items():
        value = getattr(profile, key)
        group = _SOURCE_OF.get(key, "limits") if evidence else formatting.MISSING
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else formatting.count(value), unit, group)
    return table


def _times_table(profile: GpuProfile) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("", *(formatting.count(context) for context in _CONTEXTS)):
        table.add_column(name, justify="right", no_wrap=True)
    for sequences in _SEQUENCES:
        times = (_milliseconds(_time_s(profile, sequences, context)) for context in _CONTEXTS)
        table.add_row(str(sequences), *times)
    return table


def _time_s(profile: GpuProfile, sequences: int, context_tokens: int) -> float | None:
    """Seconds of a decode iteration, None where so much does not fit."""
    if sequences > profile.max_sequences or sequences * context_tokens > profile.kv_tokens:
        return None
    return decode_s(profile, sequences, context_tokens)


def _milliseconds(value_s: float | None) -> str:
    return formatting.MISSING if value_s is None else formatting.three_digits(1e3 * value_s)
