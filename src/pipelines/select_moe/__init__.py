from pipelines.select_moe.pipeline import create_pipelines

__all__ = ["create_pipelines"]
