"""What a run would do or take, tried before it: preview, plan, ablate. Writes nothing into a run."""
