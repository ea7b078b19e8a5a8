"""The life of a service process: started, ready, draining, killed; what it needs of its machine. Knows no route."""
