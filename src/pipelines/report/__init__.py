from pipelines.report.pipeline import (
    create_arm_pipeline,
    create_course_pipeline,
    create_gains_pipeline,
    create_page_pipeline,
    create_pipeline,
    create_selection_pipeline,
)

__all__ = [
    "create_arm_pipeline",
    "create_course_pipeline",
    "create_gains_pipeline",
    "create_page_pipeline",
    "create_pipeline",
    "create_selection_pipeline",
]
