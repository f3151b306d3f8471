"""What the package stands on: options checked, cores counted, the user's cache, bars, what its owner closes."""
