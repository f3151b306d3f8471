"""Engines: who computes the vectors."""
