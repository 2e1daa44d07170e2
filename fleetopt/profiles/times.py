"""How long a profile says that iterations last, for tables."""

from fleetopt.profiles.profile import GpuProfile


def decode_s(profile: GpuProfile, sequences: int, context_tokens: int) -> float:
    """Seconds of an iteration in which sequences of one context decode.

    Parameters
    ----------
    profile : GpuProfile
    sequences : int
    context_tokens : int
        Of each of them.
    """
    return profile.base_s + sequences * (profile.per_sequence_s + profile.per_context_token_s * context_tokens)


def prefill_s(profile: GpuProfile, prompt_tokens: int) -> float:
    """Seconds until an idle replica has computed a prompt, chunk by chunk: the unloaded time to first token.

    Parameters
    ----------
    profile : GpuProfile
    prompt_tokens : int
    """
    chunk = min(profile.max_chunk_tokens, profile.max_batched_tokens)
    iterations = -(-prompt_tokens // chunk)
    return (
        iterations * profile.prefill_only_base_s
        + profile.prefill_only_per_token_s * prompt_tokens
        + profile.prefill_only_per_attention_s * prompt_tokens**2 / 2
    )
