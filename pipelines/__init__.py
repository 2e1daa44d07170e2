"""Assembly of the Dagster project: definitions, jobs, schedules, sensors, resources, the nightly command."""
