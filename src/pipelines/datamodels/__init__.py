from pipelines.datamodels.pipeline import create_pipeline

__all__ = ["create_pipeline"]
