"""A run directory as a whole: who works in it, whether it may be resumed, its manifest, its dataset, what it left.

Knows no client, no selection and no figures.
"""
