"""Select-MoE: data selected by what the routers of a mixture of experts throw away."""
