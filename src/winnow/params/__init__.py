"""One pydantic model per stage: the types, defaults and limits of every parameter.

A parameter outside these models is refused before any node runs. What changes results lives in a stage's
own model and enters its fingerprint; `Machine` says only where and how fast, and never does.
"""

from winnow.params.assistant import AssistantParams
from winnow.params.base import Engine, Machine, Params, Precision, Share, Sharing
from winnow.params.baselines import BaselinesParams, Bm25Params
from winnow.params.data import (
    ColumnMap,
    FabricatedModel,
    FabricatedSelector,
    FabricateParams,
    IngestParams,
    ModelParams,
    SplitParams,
    TokenizeParams,
)
from winnow.params.influence import (
    AdamFeatureParams,
    ClustersParams,
    EkfacParams,
    GradientsParams,
    InfluenceParams,
    ParetoParams,
    RetrainParams,
    S2lParams,
    TargetSet,
    TargetsParams,
    TrajectoriesParams,
)
from winnow.params.parallelism import CompareParallelismParams
from winnow.params.select_moe import ConstraintParams, SelectMoeParams, SelectorScoreParams, SelectorWarmupParams
from winnow.params.study import ArmParams, BudgetParams, EvaluateParams, SelectionParams, StudyParams
from winnow.params.training import FinetuneParams, LoraParams, Method, SamplesParams, WarmupParams
from winnow.params.verify import ContaminationParams, DatamodelsParams, LeaveOutParams, VerifyParams

__all__ = [
    "AdamFeatureParams",
    "ArmParams",
    "AssistantParams",
    "BaselinesParams",
    "Bm25Params",
    "BudgetParams",
    "ClustersParams",
    "ColumnMap",
    "CompareParallelismParams",
    "ConstraintParams",
    "ContaminationParams",
    "DatamodelsParams",
    "EkfacParams",
    "Engine",
    "EvaluateParams",
    "FabricateParams",
    "FabricatedModel",
    "FabricatedSelector",
    "FinetuneParams",
    "GradientsParams",
    "InfluenceParams",
    "IngestParams",
    "LeaveOutParams",
    "LoraParams",
    "Machine",
    "Method",
    "ModelParams",
    "Params",
    "ParetoParams",
    "Precision",
    "RetrainParams",
    "S2lParams",
    "SamplesParams",
    "SelectMoeParams",
    "SelectionParams",
    "SelectorScoreParams",
    "SelectorWarmupParams",
    "Share",
    "Sharing",
    "SplitParams",
    "StudyParams",
    "TargetSet",
    "TargetsParams",
    "TokenizeParams",
    "TrajectoriesParams",
    "VerifyParams",
    "WarmupParams",
]
