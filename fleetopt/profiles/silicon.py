"""Iterations of a model on a GPU from the measured database that `aiconfigurator-core` carries inside its package.

The database holds kernels timed on the GPU itself: matrix products, attention, experts, all-reduce. An iteration is the
sum of its kernels; normalisation, activation and embedding, a few per cent of it, are computed by the package from the
memory bandwidth. What the processor beside the GPU does between iterations is in none of them.
"""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from types import ModuleType
from typing import Any, Self

import numpy as np

from fleetopt.errors import InputError
from fleetopt.profiles.iterations import Iterations

PACKAGE = "aiconfigurator-core"
BACKENDS = ("vllm", "sglang", "trtllm")
BLOCK_TOKENS = 16
DECODE_SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
DECODE_CONTEXTS = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SMALL_CHUNKS = (16, 64, 128)
CHUNK_CONTEXTS = (0, 1024, 4096, 16384)
MIXED_SEQUENCES = (1, 8, 32, 128, 256)
MIXED_CONTEXTS = (512, 2048, 8192)
EIGHTHS = 8
"""Chunks go in eighths of the token budget: what is left of a prompt is about uniform below it."""
MIXED_CHUNK_CONTEXTS = (0, 4096)
_MEASURED = frozenset({"silicon", "mixed"})
"""How the package marks what comes from timings; "mixed" is interpolated between timings of two kinds."""


_COMMUNICATION = ("_ar_", "_embedding_ar", "_dispatch", "_p2p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to look up.

    Attributes
    ----------
    model : str
        Name as on Hugging Face.
    gpu : str
        Name of the database's system, or the short one: ``h100`` for ``h100_sxm``.
    tensor_parallel : int
        GPUs that a replica spans.
    backend : {"vllm", "sglang", "trtllm"}
    max_batched_tokens, max_sequences : int
        Limits of an iteration.
    memory_fraction : float
        Share of the GPU's memory that the engine may use (vLLM's ``gpu_memory_utilization``).
    kv_margin : float
        Share of the KV cache left out as a margin.
    """

    model: str
    gpu: str
    tensor_parallel: int = 1
    backend: str = "vllm"
    max_batched_tokens: int = 2048
    max_sequences: int = 256
    memory_fraction: float = 0.9
    kv_margin: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Silicon:
    """What the database says of a target.

    Attributes
    ----------
    iterations : Iterations
        Over the grid.
    measured_share : float
        Share of the grid's time that is timings, the rest being computed from bandwidth; mean over iterations.
    communication_share : float
        Share of a full iteration of prefill in which the GPUs of a replica wait for each other's results.
    kv_blocks : int
        Of :data:`BLOCK_TOKENS` tokens.
    system, backend_version, package_version : str
        Which of the databases.
    dtype : str
        Of weights, attention and KV cache, as the database was asked for them.
    has_experts : bool
        Whether the model is a mixture of experts.
    context_limit_tokens : int
        Longest request that the model was made for.
    memory_note : str
        How the KV capacity comes about.
    """

    iterations: Iterations
    measured_share: float
    communication_share: float
    kv_blocks: int
    system: str
    backend_version: str
    package_version: str
    dtype: str
    has_experts: bool
    context_limit_tokens: int
    memory_note: str


@dataclass(frozen=True, slots=True)
class _Engine:
    """The package's model of one target: times of kernels, by kind of work."""

    handle: Any

    @classmethod
    def build(cls, sdk: ModuleType, target: Target, system: str, backend_version: str) -> Self:
        return cls(
            sdk.EngineHandle.compile(
                target.model,
                system,
                target.backend,
                backend_version=backend_version,
                tp_size=target.tensor_parallel,
                moe_tp_size=target.tensor_parallel,
            )
        )

    def decode(self, sequences: int, context_tokens: int) -> list[Any]:
        return list(self.handle.decode_step_per_op(sequences, context_tokens - 1, 2))

    def prefill(self, chunk_tokens: int, before_tokens: int) -> list[Any]:
        operations, _ = self.handle.run_static_per_op(
            batch_size=1, isl=before_tokens + chunk_tokens, osl=2, prefix=before_tokens, mode="static_ctx"
        )
        return list(operations)

    def mixed(self, sequences: int, context_tokens: int, chunk_tokens: int, before_tokens: int) -> list[Any]:
        """Everything but attention over all tokens at once; attention of the chunk and of the decodes apart."""
        prompt_tokens = before_tokens + chunk_tokens
        shared, of_chunk, _ = self.handle.mixed_step_breakdown_per_op(
            chunk_tokens, sequences, prompt_tokens, 2, before_tokens
        )
        # The package spreads a prompt's attention over its chunks; this chunk is asked for with all that it attends to.
        chunks = ceil(prompt_tokens / chunk_tokens)
        whole = [(name, time_ms * chunks, energy, source) for name, time_ms, energy, source in of_chunk]
        _, _, of_decodes = self.handle.mixed_step_breakdown_per_op(chunk_tokens, sequences, context_tokens - 1, 2, 0)
        return [*shared, *whole, *of_decodes]


def read_silicon(target: Target) -> Silicon:
    """Look a target up over the grid of batch sizes, contexts and chunks.

    Parameters
    ----------
    target : Target

    Returns
    -------
    Silicon

    Raises
    ------
    InputError
        If the package is not installed, or its database does not have the target, or the model does not fit.
    """
    sdk = _sdk()
    with _quiet():
        system, backend_version = _database(target)
        _require_model(target.model)
        try:
            engine = _Engine.build(sdk, target, system, backend_version)
            memory = _memory(sdk, target, system, backend_version)
            kv_blocks = int(memory["tolerance_adjusted"]["total_kv_size_tokens"]) // BLOCK_TOKENS
            _require_room(target, kv_blocks * BLOCK_TOKENS)
            iterations, measured_share = _timed(engine, target, kv_blocks * BLOCK_TOKENS)
            model = _model(target)
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{target.model} on {target.tensor_parallel} x {system} with {target.backend}: the database of "
                f"{PACKAGE} has no answer: {' '.join(str(error).split())[:300]}"
            ) from error
    return Silicon(
        iterations=iterations,
        measured_share=measured_share,
        communication_share=_communication_share(engine.prefill(target.max_batched_tokens, 0)),
        kv_blocks=kv_blocks,
        system=system,
        backend_version=backend_version,
        package_version=version(PACKAGE),
        dtype=_dtype(model),
        has_experts=_has_experts(model),
        context_limit_tokens=int(model._context_length),
        memory_note=_memory_note(target, memory),
    )


def _sdk() -> ModuleType:
    """The package, imported when it is needed: it takes a second and is an extra."""
    try:
        from aiconfigurator_core import sdk  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"the measured database is in {PACKAGE}, which is not installed: pip install 'fleetopt[profiles]', or in a "
            "checkout pip install '.[profiles]'"
        ) from error
    return sdk


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the package's remarks about tables of other models; what fails is raised."""
    logger = logging.getLogger("aiconfigurator_core")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _database(target: Target) -> tuple[str, str]:
    """The system's name in the database and the version of the engine that was timed on it."""
    from aiconfigurator_core.sdk import perf_database  # noqa: PLC0415

    systems = perf_database.get_supported_databases()
    system = next((name for name in (target.gpu, f"{target.gpu}_sxm") if name in systems), None)
    if system is None:
        raise InputError(f"--gpu {target.gpu}: the database has {', '.join(sorted(systems))}")
    if target.backend not in systems[system]:
        raise InputError(f"--backend {target.backend}: on {system} the database has {', '.join(systems[system])}")
    return system, perf_database.resolve_query_version(system, target.backend, "current")


def _require_model(model: str) -> None:
    """The package would fetch the shape of an unknown model from the network; it has to have it itself."""
    from aiconfigurator_core.sdk.common import DefaultHFModels  # noqa: PLC0415

    if model in DefaultHFModels:
        return
    near = difflib.get_close_matches(model, DefaultHFModels, n=3, cutoff=0.4)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise InputError(f"{model}: not one of the {len(DefaultHFModels)} models in {PACKAGE}{hint}")


def _model(target: Target) -> Any:
    from aiconfigurator_core.sdk.config_builders import build_model_config  # noqa: PLC0415
    from aiconfigurator_core.sdk.models import get_model  # noqa: PLC0415

    size = target.tensor_parallel
    return get_model(target.model, build_model_config(size, 1, 1, size, 1), target.backend)


def _dtype(model: Any) -> str:
    config = model.config
    modes = {"weights": config.gemm_quant_mode, "attention": config.fmha_quant_mode, "KV": config.kvcache_quant_mode}
    if _has_experts(model):
        modes["experts"] = config.moe_quant_mode
    return ", ".join(f"{name} {mode.name}" for name, mode in modes.items())


def _has_experts(model: Any) -> bool:
    return bool(getattr(model, "_num_experts", 0))


def _memory(sdk: ModuleType, target: Target, system: str, backend_version: str) -> dict[str, Any]:
    answer: dict[str, Any] = sdk.estimate_kv_cache(
        target.model,
        system,
        target.backend,
        backend_version,
        max_num_tokens=target.max_batched_tokens,
        max_batch_size=target.max_sequences,
        memory_fraction_kind="of_free" if target.backend == "trtllm" else "of_total",
        memory_fraction_value=target.memory_fraction,
        tp_size=target.tensor_parallel,
        moe_tp_size=target.tensor_parallel,
        moe_ep_size=1,
        tolerance_fraction=target.kv_margin,
    )
    return answer


def _require_room(target: Target, kv_tokens: int) -> None:
    if kv_tokens < target.max_batched_tokens:
        raise InputError(
            f"{target.model} on {target.tensor_parallel} x {target.gpu}: leaves room for {kv_tokens:,} tokens of KV, "
            f"less than the {target.max_batched_tokens:,} of one iteration; spread it over more GPUs with --tp"
        )


def _memory_note(target: Target, memory: dict[str, Any]) -> str:
    """The budget of one GPU in words."""
    parts = memory["memory_breakdown"]
    others = sum(parts.values()) - parts["weights_bytes"]
    kind = "free memory" if target.backend == "trtllm" else "memory"
    return (
        f"per GPU {memory['total_gpu_capacity_bytes'] / 2**30:.1f} GiB, {target.memory_fraction:.0%} of its {kind} "
        f"used, weights {parts['weights_bytes'] / 2**30:.2f} GiB, activations and runtime {others / 2**30:.2f} GiB, "
        f"{memory['kv_size_per_token_bytes'] / 1024:g} KiB of KV per token and GPU, {target.kv_margin:.0%} margin"
    )


def _timed(engine: _Engine, target: Target, kv_tokens: int) -> tuple[Iterations, float]:
    """Time every iteration of the grid that fits into the KV cache and the token budget."""
    rows, shares = [], []
    for sequences, context, chunk, before in grid(target, kv_tokens):
        if chunk == 0:
            operations = engine.decode(sequences, context)
        elif sequences == 0:
            operations = engine.prefill(chunk, before)
        else:
            operations = engine.mixed(sequences, context, chunk, before)
        total_ms = sum(time_ms for _, time_ms, _, _ in operations)
        measured_ms = sum(time_ms for _, time_ms, _, source in operations if source in _MEASURED)
        rows.append((sequences, sequences * context, chunk, chunk * (before + chunk / 2), total_ms / 1e3))
        shares.append(measured_ms / total_ms)
    table = np.array(rows, dtype=np.float64)
    return (
        Iterations(
            decode_sequences=table[:, 0],
            decode_context_tokens=table[:, 1],
            prefill_tokens=table[:, 2],
            prefill_attention=table[:, 3],
            iteration_s=table[:, 4],
        ),
        float(np.mean(shares)),
    )


def _communication_share(operations: list[Any]) -> float:
    """Share of all-reduce and of moving tokens to experts and back, by the package's names of them."""
    total_ms = sum(time_ms for _, time_ms, _, _ in operations)
    return sum(time_ms for name, time_ms, _, _ in operations if any(part in name for part in _COMMUNICATION)) / total_ms


def grid(target: Target, kv_tokens: int) -> Iterator[tuple[int, int, int, int]]:
    """Iterations to time: sequences that decode, context of each, tokens of the chunk, tokens before it.

    Parameters
    ----------
    target : Target
        For its limits of an iteration.
    kv_tokens : int
        KV capacity; what holds more is left out.
    """
    budget = target.max_batched_tokens
    for sequences in (n for n in DECODE_SEQUENCES if n <= target.max_sequences):
        for context in (c for c in DECODE_CONTEXTS if sequences * c <= kv_tokens):
            yield sequences, context, 0, 0
    chunks = {max(budget * i // EIGHTHS, 1) for i in range(1, EIGHTHS + 1)} | {k for k in SMALL_CHUNKS if k < budget}
    for chunk in sorted(chunks):
        for before in (c for c in CHUNK_CONTEXTS if c + chunk <= kv_tokens):
            yield 0, 0, chunk, before
    for sequences in (n for n in MIXED_SEQUENCES if n <= target.max_sequences and n < budget):
        for context in MIXED_CONTEXTS:
            for chunk in sorted({min(k, budget - sequences) for k in chunks}):
                for before in (c for c in MIXED_CHUNK_CONTEXTS if sequences * context + c + chunk <= kv_tokens):
                    yield sequences, context, chunk, before
