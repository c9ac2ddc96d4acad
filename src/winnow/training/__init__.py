"""Fine-tuning on a training mix. Imports torch; used by workers only."""
