"""Items in, vectors out: the encoder that callers hold, and what it needs of an engine."""
