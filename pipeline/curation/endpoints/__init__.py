"""The services as a run sees them: opened, watched by canaries, metered, paced. Knows no input and no selection."""
