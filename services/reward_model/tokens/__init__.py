"""What goes into a reward model: token rows and pixels. Knows no weights."""
