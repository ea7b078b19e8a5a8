"""Human preference data: import, agreement, pairs."""
