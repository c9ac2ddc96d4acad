from pipelines.leave_out.pipeline import create_pipeline

__all__ = ["create_pipeline"]
