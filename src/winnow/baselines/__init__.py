"""Ways to choose that need no training: likelihood under the base model, nearness to targets, words in common."""
