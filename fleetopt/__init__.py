"""Plans, simulates and explains GPU fleets for LLM inference; no orchestration and no storage in here."""
