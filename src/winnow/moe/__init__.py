"""A mixture-of-experts model whose routers may throw a token away, and what they throw away (Select-MoE)."""
