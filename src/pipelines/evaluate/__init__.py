from pipelines.evaluate.pipeline import create_pipeline, create_target_pipeline

__all__ = ["create_pipeline", "create_target_pipeline"]
