"""Figures over what a run decided and spent. Values only: knows no words, no HTML and no client."""
