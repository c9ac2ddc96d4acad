"""What training on an example would do for a target: scores from gradient features."""
