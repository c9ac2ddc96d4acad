"""One pydantic model per stage: the types, defaults and limits of every parameter.

A parameter outside these models is refused before any node runs. What changes results lives in a stage's
own model and enters its fingerprint; `Machine` says only where and how fast, and never does.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["auto", "fp32", "bf16"]


class Params(BaseModel):
    """Base of all parameter models: immutable, and strict about unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(Params):
    """Where a stage runs. Never part of a fingerprint."""

    data_root: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1, description="threads per process; None: all cores shared evenly")
    accelerate_config: Path | None = Field(default=None, description="file for `accelerate launch`; None: one is made")
    micro_batch: int | None = Field(default=None, ge=1, description="rows per process and step; None: the whole batch")
    forkserver: bool = True

    def one_process(self) -> "Machine":
        """The same machine for a stage that several processes would not help."""
        return self.model_copy(update={"processes": 1})


class FabricatedModel(Params):
    """The tiny base model that the demo trains from scratch."""

    hidden: int = Field(default=128, ge=8)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1)
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=16, ge=1, description="rows of text per step")
    length: int = Field(default=96, ge=8, description="characters per row of text")
    lr: float = Field(default=3e-3, gt=0)
    wrong_share: float = Field(default=0.1, ge=0, lt=1, description="of the lines in the text")


class FabricatedSelector(FabricatedModel):
    """The tiny mixture of experts that the demo trains on the same text, to select with."""

    layers: int = Field(default=2, ge=1)
    hidden: int = Field(default=64, ge=8)
    experts: int = Field(default=8, ge=2)
    top_k: int = Field(default=2, ge=1)
    steps: int = Field(default=1000, ge=1)


class FabricateParams(Params):
    """Generated data with planted truth, in the Mixture-of-Thoughts layout."""

    seed: int = 0
    rows: int = Field(default=2000, ge=10, description="pool rows per subset")
    verified_rows: int = Field(default=300, ge=4, description="clean rows per subset for validation and held-out")
    facts: int = Field(default=100, ge=4)
    wrong_share: float = Field(default=0.5, ge=0, lt=1, description="of the pool's answers")
    model: FabricatedModel = FabricatedModel()
    selector: FabricatedSelector = FabricatedSelector()


class ColumnMap(Params):
    """A LLaMA-Factory `dataset_info.json` entry: which columns, and which tags, hold what."""

    formatting: Literal["alpaca", "sharegpt", "openai"] = "alpaca"
    columns: dict[str, str] | None = None
    tags: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _where_the_file_is_does_not_matter(cls, entry: Any) -> Any:
        where = {"file_name", "folder", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}
        return {key: value for key, value in entry.items() if key not in where} if isinstance(entry, dict) else entry


class IngestParams(Params):
    """Which folder of conversations is read, and how."""

    folder: Path | None = Field(default=None, description="None: the generated data of `fabricate`")
    shapes: dict[str, Literal["messages", "sharegpt", "alpaca", "pair"] | ColumnMap] = Field(
        default={}, description="glob over file paths -> record shape, where detection is not wanted"
    )
    encoding: str = "utf-8"
    max_record_mb: float = Field(default=64, gt=0, description="longer records become rejects")

    @model_validator(mode="after")
    def _encoding_is_known(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"{self.encoding!r} is no text encoding of Python; try utf-8 or gb18030") from None
        return self


class SplitParams(Params):
    """The seeded 90/5/5 split per source file."""

    seed: int = 0
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    held_out_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    held_out_from: str | None = Field(default=None, description="glob over source files; None: every file")
    write_tree: bool = True

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.validation_share + self.held_out_share > 1 + 1e-9:
            raise ValueError(
                f"validation_share + held_out_share is {self.validation_share + self.held_out_share}, over 1"
            )
        return self


class ModelParams(Params):
    """The model that is fine-tuned."""

    base: str | None = Field(default=None, description="hub id or folder; None: the fabricated base model")
    revision: str | None = None
    trust_remote_code: bool = False


class TokenizeParams(Params):
    """Rendering of conversations into tokens and loss masks."""

    max_length: int = Field(default=2048, ge=8)
    template: Path | None = Field(default=None, description="a Jinja file; None: the tokenizer's own chat template")


class BudgetParams(Params):
    """How much a selection may take: exactly one of rows, tokens and share."""

    rows: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    share: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"budget needs exactly one of rows, tokens, share, the others null; it has {given}")
        return self


class LoraParams(Params):
    """A low-rank adapter."""

    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class FinetuneParams(Params):
    """Fine-tuning of the target on one arm's mixture."""

    method: Literal["lora", "full"] = "lora"
    lora: LoraParams = LoraParams()
    steps: int | None = Field(default=None, ge=1, description="None: `epochs` decides")
    epochs: float = Field(default=1.0, gt=0)
    batch: int = Field(default=32, ge=1, description="rows per optimizer step, over all processes")
    lr: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "auto"
    checkpoints: int = Field(default=1, ge=1, description="spread evenly over the steps, the last at the end")


class WarmupParams(FinetuneParams):
    """A warm-up or proxy training, whose checkpoints are looked at; or the checkpoints of another trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    base: str | None = Field(default=None, description="hub id or folder of its own model; None: the target's")
    share: Share = Field(default=1.0, description="of the train split, drawn at random")
    seed: int = 0
    checkpoints: int = Field(default=15, ge=1, description="spread evenly over the steps, the last at the end")
    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints, in place of their number"
    )
    moments: bool = Field(default=True, description="keep the optimizer's moments, which gradient features need")
    record: bool = Field(default=False, description="write the losses of the batches just trained on, too")
    folder: Path | None = Field(default=None, alias="from", description="checkpoint-* folders of another trainer")


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


class ConstraintParams(Params):
    """How much of a token's routing may go to trash."""

    weight: float = Field(default=0.01, ge=0, description="beside the loss of the next tokens")
    kind: Literal["ratio", "likelihood"] = Field(default="ratio", description="likelihood: of a Beta distribution")
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=2.0, gt=0)
    mass: Literal["softmax", "topk"] = Field(
        default="softmax", description="of all trash experts; topk: of those selected, which can lose its gradient"
    )


class SelectorWarmupParams(FinetuneParams):
    """Stage 1: the routers alone are trained, or low-rank adapters of them."""

    method: Literal["lora", "full"] = Field(default="full", description="full: the gates themselves")
    lora: LoraParams = LoraParams(r=8, alpha=16)
    share: Share = Field(default=0.05, description="of the train split, drawn at random")
    seed: int = 0
    epochs: float = Field(default=4.0, gt=0)
    batch: int = Field(default=4, ge=1, description="rows per optimizer step, over all processes")
    lr: float = Field(default=1e-4, gt=0)
    checkpoints: int = Field(default=4, ge=1, description="spread evenly over the steps, the last at the end")


class SelectorScoreParams(Params):
    """Stage 2: the quality of each example."""

    share: Share = Field(default=1.0, description="of the train split, drawn at random; the rest is never selected")
    seed: int = 0
    batch: int = Field(default=16, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    shard_rows: int = Field(default=1024, ge=1, description="rows that a kill can lose, about")
    clusters: int = Field(default=50, ge=1, description="of the arm select_moe_diverse")


class SelectMoeParams(Params):
    """A mixture of experts that selects data by what its routers throw away."""

    base: str | None = Field(default=None, description="hub id or folder; None: the fabricated mixture of experts")
    revision: str | None = None
    trust_remote_code: bool = False
    trash_experts: int | None = Field(default=None, ge=1, description="None: as many as experts a token has")
    trash_init_std: float = Field(default=0.02, ge=0)
    seed: int = 0
    dtype: Precision = Field(default="auto", description="of the model; auto: bf16 on CUDA, fp32 on a CPU")
    full_checkpoint: bool = Field(default=False, description="write the whole model, too, not its gates alone")
    tokens: Literal["all", "supervised"] = Field(default="all", description="that constraint and quality look at")
    tolerance: float | None = Field(default=None, gt=0, description="of logits; None: by dtype")
    constraint: ConstraintParams = ConstraintParams()
    warmup: SelectorWarmupParams = SelectorWarmupParams()
    score: SelectorScoreParams = SelectorScoreParams()


class SelectionParams(Params):
    """What holds for every arm that selects."""

    deduplicate: Literal["none", "exact", "near"] = Field(
        default="none", description="repeats of a chosen row are passed over, and the next best taken"
    )
    similarity: float = Field(default=0.8, gt=0, le=1, description="share of common five-token runs that is near")


class EvaluateParams(Params):
    """Exact match and response loss per domain."""

    split: Literal["validation", "held_out"] = "held_out"
    limit: int | None = Field(default=None, ge=1, description="rows per domain")
    decoding: Literal["teacher_forced", "generate"] = "teacher_forced"
    max_new_tokens: int = Field(default=256, ge=1)
    batch: int = Field(default=128, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"


class ArmParams(Params):
    """What may be said of one arm: its seeds, and its departures from the shared fine-tuning."""

    seeds: int = Field(default=5, ge=1)
    finetune: dict[str, Any] = {}


class StudyParams(Params):
    """The arms that `kedro run` compares."""

    name: str = "demo"
    arms: list[str] = Field(default=["base", "all", "random", "length"], min_length=1)
    rounds: int = Field(default=1, ge=1, le=9, description="of influence and mixtures, each from the mix before")
    rounds_by: str = Field(default="pareto_balanced", description="the arm whose mix the next round begins with")
