"""Loss trajectories, gradients, influence of examples and clusters, and mixtures."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from winnow.params.base import Params, Precision, Share


class TrajectoriesParams(Params):
    """One forward pass over all examples per checkpoint."""

    checkpoints: str | int | list[int] = Field(
        default="all", description="all | 100,200 | start:end:step, end included"
    )
    batch: int = Field(default=256, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"
    write_losses_pt: bool = Field(default=False, description="write checkpoint-<step>/losses.pt too, for older scripts")


class S2lParams(Params):
    """The clusters that S2L draws from, in each subset."""

    clusters: int = Field(default=100, ge=1)
    iterations: int = Field(default=20, ge=1)
    tiny: int = Field(default=2, ge=0, description="clusters of at most so many rows are drawn from last")


class ClustersParams(Params):
    """k-means on the loss trajectories."""

    k: int = Field(default=8, ge=1)
    min_size: int = Field(default=10, ge=1)
    retries: int = Field(default=5, ge=0, description="with one cluster more, while fewer than k are large enough")
    normalize: Literal["none", "zscore", "delta"] = "none"
    iterations: int = Field(default=25, ge=1)
    seed: int = 0
    stability_seeds: int = Field(default=3, ge=0, description="further seeds that the clusters are compared with")
    silhouette_rows: int = Field(default=2000, ge=2, description="rows of the sample that silhouettes are taken from")
    suggest_up_to: int = Field(default=10, ge=2, description="the largest k that is tried for the suggestion")
    s2l: S2lParams = S2lParams()


class AdamFeatureParams(Params):
    """Which reading of LESS's formula is taken; the default is that of its released code."""

    betas: tuple[float, float] | None = Field(default=None, description="None: those of the warm-up's optimizer")
    eps: float | None = Field(default=None, gt=0, description="None: that of the warm-up's optimizer")
    eps_at: Literal["inside", "outside"] = Field(default="inside", description="of the square root")
    bias_correction: bool = False
    momentum: bool = True


class GradientsParams(Params):
    """Gradient features of every example at checkpoints of the warm-up `less`, and how they are stored."""

    checkpoints: str | int | list[int] = Field(
        default="all", description="all | 100,200 | start:end:step, end included"
    )
    checkpoint_weights: list[float] | None = Field(
        default=None, description="one for each checkpoint; None: mean learning rates since the checkpoint before"
    )
    feature: Literal["adam", "sgd", "sign"] = "adam"
    adam: AdamFeatureParams = AdamFeatureParams()
    projection: Literal["sketch", "rademacher", "none"] = "sketch"
    dims: list[Annotated[int, Field(ge=2)]] = Field(default=[32768], min_length=1, description="all in one pass")
    seed: int = 0
    store: Literal["float32", "float16", "bfloat16", "int8", "4-bit", "2-bit", "1-bit"] = "1-bit"
    parameters: list[str] | None = Field(
        default=None, description="globs over parameter names; None: the adapter, or all linear layers but the head"
    )
    batch: int = Field(default=64, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=4096, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"
    shard_rows: int = Field(default=1024, ge=1, description="rows that a kill can lose, about")
    certificate_rows: int = Field(default=32, ge=2, description="rows whose projection is compared with the exact")

    @model_validator(mode="after")
    def _each_dim_once(self) -> Self:
        if len(set(self.dims)) != len(self.dims):
            raise ValueError(f"dims is {self.dims}: each should stand there once")
        return self


class TargetSet(Params):
    """Files with what the model should become good at."""

    files: str = Field(description="a file, a folder, or a glob; relative to the project")
    subtask: str | None = Field(default=None, description="field of the records that names the subtask; None: the file")
    layout: Literal["records", "mmlu", "bbh", "tydiqa"] = Field(
        default="records", description="records: any shape that ingest reads; else the folders of LESS's evaluation"
    )


class TargetsParams(Params):
    """The validation sets that examples are scored for."""

    sets: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], TargetSet] = Field(
        default={}, description="by name; empty: each domain of the validation split is a target"
    )
    limit: int | None = Field(default=None, ge=1, description="rows per subtask, drawn at random; None: all")
    seed: int = 0


class EkfacParams(Params):
    """The curvature that influence by EK-FAC is measured in."""

    warmup: Literal["less", "proxy"] = Field(default="less", description="whose checkpoint; its adapter is merged")
    checkpoint: int | None = Field(default=None, ge=1, description="None: the last")
    layers: list[str] = Field(default=["*"], min_length=1, description="globs over linear layers; never the head")
    labels: Literal["model", "data"] = Field(
        default="model", description="drawn from the model's predictions; data: the rows' own (empirical Fisher)"
    )
    rows: int = Field(default=4096, ge=1, description="training rows that the curvature is fitted to, at random")
    damping: float = Field(default=0.1, ge=0, description="of the mean eigenvalue of a layer")
    store: Literal["float32", "float16", "bfloat16", "int8", "4-bit", "2-bit", "1-bit"] = "int8"
    seed: int = 0


class RetrainParams(Params):
    """The oracle: models retrained with extra weight on one cluster at a time."""

    extra: float = Field(default=1.0, gt=0, description="copies of the cluster's rows that are added")
    seeds: int = Field(default=3, ge=2, description="trainings for each cluster, and without extra weight")
    rows: int | None = Field(default=None, ge=1, description="of the pool, at random; None: all of it")


class InfluenceParams(Params):
    """Scores of examples for targets, and influence of clusters on domains."""

    mode: Literal["store", "direct"] = Field(default="store", description="direct: exact, without any store")
    aggregate: Literal["max", "mean", "round_robin"] = Field(default="max", description="over a target's subtasks")
    dim: int | None = Field(default=None, description="None: the largest of `gradients.dims`")
    per_row_mb: float = Field(
        default=256, ge=0, description="scores for each validation row are kept, too, up to this size"
    )
    direct_gb: float = Field(default=8, gt=0, description="memory for the targets' gradients in direct mode, at most")
    estimator: Literal["gradient", "ekfac", "retrain"] = Field(default="gradient", description="of the matrix")
    normalize: bool = Field(
        default=True, description="mean cosines; false: units of loss, by the sum of learning rates (gradient alone)"
    )
    columns: str = Field(
        default="subset_cluster",
        description="of the influence matrix: subset_cluster | cluster | subset, or a table with example_id and group",
    )
    rows: str = Field(
        default="domain",
        description="of the influence matrix: domain | subtask | file, or a table with example_id and group",
    )
    ekfac: EkfacParams = EkfacParams()
    retrain: RetrainParams = RetrainParams()


class ParetoParams(Params):
    """Mixtures of clusters, and the front of those that no other beats."""

    mode: Literal["relative", "share"] = Field(
        default="share",
        description="relative: clusters change by a share of themselves, at full size; share: up to a cap, at a budget",
    )
    change: float = Field(default=0.15, gt=0, le=3, description="largest change of a cluster, in relative mode")
    cap: Share = Field(default=0.25, description="largest share of the mixture that a cluster may have, in share mode")
    repeats: float = Field(default=1.0, ge=1, description="how often a row may be taken, in share mode")
    gains: Literal["linear", "diminishing"] = Field(
        default="linear", description="diminishing: each further copy of a row counts less"
    )
    importance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="of domains, for `weighted` and `closed_form`; empty: all alike"
    )
    algorithm: Literal["auto", "nsga2", "nsga3"] = "auto"
    population: int = Field(default=200, ge=8)
    generations: int = Field(default=200, ge=1)
    seed: int = 0
