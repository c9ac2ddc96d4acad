"""The wiring: one folder per stage, nodes and pipelines only, no mathematics."""
