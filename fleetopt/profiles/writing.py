"""A profile as the TOML text that :func:`fleetopt.profiles.parse_profile` reads."""

from collections.abc import Mapping
from typing import Any

from fleetopt.profiles.evidence import Evidence
from fleetopt.profiles.profile import GpuProfile, ProfileFile

_FOLLOWS = {
    "prefill_only_base_s": "base_s",
    "prefill_only_per_token_s": "per_prefill_token_s",
    "prefill_only_per_attention_s": "per_prefill_attention_s",
    "max_chunk_tokens": "max_batched_tokens",
    "max_context_tokens": "kv_tokens",
}
"""Keys that take the value of another when they are left out."""


def profile_toml(file: ProfileFile) -> str:
    """The text of a profile's file; keys that only repeat a default are left out.

    Parameters
    ----------
    file : ProfileFile
    """
    profile, evidence = file
    lines = [_line(key, value) for key, value in _own_values(profile).items()]
    if evidence is not None:
        lines += _table("evidence", _evidence_values(evidence))
    return "\n".join(lines) + "\n"


def _own_values(profile: GpuProfile) -> dict[str, Any]:
    values = profile.model_dump()
    texts = {key: values.pop(key) for key in ("name", "source", "caveat")}
    kept = {
        key: value for key, value in values.items() if key not in _FOLLOWS or value != getattr(profile, _FOLLOWS[key])
    }
    return {key: text for key, text in texts.items() if text} | kept


def _evidence_values(evidence: Evidence) -> dict[str, Any]:
    return evidence.model_dump(exclude_none=True)


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    """A table and those inside it."""
    lines = ["", f"[{name}]"]
    inner: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner += _table(f"{name}.{key}", value)
        else:
            lines.append(_line(key, value))
    return lines + inner


def _line(key: str, value: str | float) -> str:
    return f"{key} = {_quoted(value) if isinstance(value, str) else repr(value)}"


def _quoted(text: str) -> str:
    """A basic string of TOML: printable characters as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped) + '"'
