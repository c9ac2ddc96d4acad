"""The comparison of arms: its statistics and its figures."""
