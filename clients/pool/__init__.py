"""Several replicas as one client: how many calls each takes, who is asked next, and when twice. Knows no transport."""
