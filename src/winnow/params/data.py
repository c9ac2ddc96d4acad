"""Generated data, ingest, split and tokens."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from winnow.params.base import Params

TemplateName = Literal["chatml", "llama3", "tulu"]


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
    template: TemplateName | Path | None = Field(
        default=None, description="a name or a Jinja file; None: the tokenizer's own chat template, tulu if it has none"
    )

    @model_validator(mode="after")
    def _template_is_a_name_or_a_file(self) -> Self:
        if isinstance(self.template, Path) and not self.template.suffix and not self.template.is_file():
            raise ValueError(
                f"template is {str(self.template)!r}, neither a file nor one of {', '.join(get_args(TemplateName))}"
            )
        return self
