"""Examples that ship with the project."""
