"""Figures over what a run decided and spent. Knows no words, no HTML and no client."""
