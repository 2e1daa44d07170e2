"""Formulas for queues and for the equilibrium of a replica; no simulation in here."""
