"""The config of a curation: one YAML, environment and `--set` over it, checked once."""
