"""The input: files, records, images and the table of their rows. Knows no service, no reward and no selection."""
