"""The disk: files that survive kill -9, tables with a schema, the scratch folder. Knows no records."""
