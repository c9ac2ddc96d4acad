from pipelines.compare_parallelism.pipeline import create_pipeline

__all__ = ["create_pipeline"]
