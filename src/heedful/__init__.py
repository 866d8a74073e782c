"""Train language models to heed people."""

__version__ = "0.1.0"
