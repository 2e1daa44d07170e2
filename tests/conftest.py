"""Fixtures that tests of several folders use, and one rule for all properties."""

from hypothesis import settings

from tests.s3 import bucket, s3_server

__all__ = ["bucket", "s3_server"]

# No test asserts wall time: a machine may be busy, and the first example of a property may compile a kernel.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
