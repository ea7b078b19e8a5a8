"""What a service does with a request it has taken: admission, images, batches, answers. Knows no transport and no engine's insides."""
