"""What the tests of ingest share."""

from datetime import UTC, datetime

KEY = b"a key"
START = datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens"
