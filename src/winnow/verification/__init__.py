"""Proof: what estimates and methods are held to."""
