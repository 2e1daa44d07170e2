"""Resources: everything outside the assets that they touch. Files, tables, settings, validation, provenance."""
