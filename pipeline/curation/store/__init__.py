"""What a run has acknowledged, in parts that are never changed: rewards, rewrites, quarantine, decisions, events.

Knows no input and no client.
"""
