"""Gradient features: per-example gradients in batches, optimizer features, projection, and the store."""
