from pipelines.influence_matrix.pipeline import create_pipeline

__all__ = ["create_pipeline"]
