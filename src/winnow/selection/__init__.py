"""One file per strategy: each ranks the pool, best first, and one rule takes what the budget allows."""

from winnow.selection.at_random import rank_at_random
from winnow.selection.budget import take
from winnow.selection.diversity import rank_by_distance
from winnow.selection.everything import rank_all
from winnow.selection.length import rank_by_validation_length
from winnow.selection.less import rank_by_influence
from winnow.selection.likelihood import rank_by_ifd, rank_by_perplexity
from winnow.selection.repeats import repeats_of_chosen
from winnow.selection.s2l import rank_by_clusters
from winnow.selection.select_moe import rank_by_diverse_quality, rank_by_quality
from winnow.selection.shares import rank_by_shares

__all__ = [
    "rank_all",
    "rank_at_random",
    "rank_by_clusters",
    "rank_by_distance",
    "rank_by_diverse_quality",
    "rank_by_ifd",
    "rank_by_influence",
    "rank_by_perplexity",
    "rank_by_quality",
    "rank_by_shares",
    "rank_by_validation_length",
    "repeats_of_chosen",
    "take",
]
