"""Loops over the bytes of log files, compiled by Numba; they run without Python's lock."""
