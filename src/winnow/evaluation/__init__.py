"""Exact match and response loss of a model, through lm-evaluation-harness. Imports torch; used by workers only."""
