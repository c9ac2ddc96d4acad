from pipelines.verify.pipeline import create_arm_pipeline, create_pipeline

__all__ = ["create_arm_pipeline", "create_pipeline"]
