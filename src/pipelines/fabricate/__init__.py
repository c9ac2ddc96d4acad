from pipelines.fabricate.pipeline import create_base_model_pipeline, create_pipeline, create_selector_pipeline

__all__ = ["create_base_model_pipeline", "create_pipeline", "create_selector_pipeline"]
