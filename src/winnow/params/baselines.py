"""Selection without any training: by likelihood, by nearness, by words in common."""

from pydantic import Field

from winnow.params.base import Params, Precision


class Bm25Params(Params):
    """Okapi BM25."""

    k1: float = Field(default=1.5, ge=0, description="how soon further times of a word stop to count")
    b: float = Field(default=0.75, ge=0, le=1, description="how much long rows are held back")


class BaselinesParams(Params):
    """What the arms rds, bm25, perplexity_*, ifd and embedding_diversity share."""

    batch: int = Field(default=256, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"
    shard_rows: int = Field(default=1024, ge=1, description="rows that a kill can lose, about")
    bm25: Bm25Params = Bm25Params()

    def of_passes(self) -> dict[str, object]:
        """What decides losses and embeddings."""
        return self.model_dump(mode="json", exclude={"bm25"})
