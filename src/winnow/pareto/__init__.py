"""How much more or less of each cluster to train on, where several domains want different things."""
