"""Assembly of the Dagster project: definitions, jobs, schedules, sensors, resources, the nightly command."""

import os

# deltalake logs to standard error what stores answer, and reads once, when it is imported, how much. What fails raises.
os.environ.setdefault("RUST_LOG", "error")
