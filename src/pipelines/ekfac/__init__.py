from pipelines.ekfac.pipeline import create_pipeline

__all__ = ["create_pipeline"]
