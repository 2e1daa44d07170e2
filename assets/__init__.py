"""Thin Dagster assets, one module per layer of data; importing the package wires nothing."""
