"""Plans, simulates and explains GPU fleets for LLM inference; no orchestration and no storage in here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetopt.planner.answer import Answer
    from fleetopt.planner.ask import plan
    from fleetopt.planner.problem import Offer, Slo

__all__ = ["Answer", "Offer", "Slo", "plan"]

_PLACES = {
    "Answer": "fleetopt.planner.answer",
    "Offer": "fleetopt.planner.problem",
    "Slo": "fleetopt.planner.problem",
    "plan": "fleetopt.planner.ask",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: small commands start without the planner."""
    if name not in _PLACES:
        raise AttributeError(f"module 'fleetopt' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
