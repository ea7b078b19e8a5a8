"""The three services of this machine, as processes of it."""
