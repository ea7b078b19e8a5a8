"""Images sent once: which a service holds, which it lacks, and the answers put together. Knows no transport."""
