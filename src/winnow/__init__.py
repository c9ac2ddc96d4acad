"""Winnow finds out which instruction-tuning data helps a language model, and trains on that."""

__version__ = "0.1.0"
