"""Engines: what computes rewards and text. They know no transport."""
