"""What jina-embeddings-v4 is: its files, prompts, heads, and how its states become vectors."""
