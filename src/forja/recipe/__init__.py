"""The whole recipe as typed, documented models: one section a stage.

The field descriptions are the reference (`forja recipe schema`). Reading a recipe from YAML, with
errors that name the file's line, is in `recipe_file.py`.
"""

from forja.recipe.corpus import (
    CorpusSection,
    DecontaminationSection,
    NearDuplicates,
    Privacy,
    QualitySection,
    ScreenSection,
    Source,
    SynthSection,
)
from forja.recipe.finetuning import ExamplesSection, FinetuneKind, FinetuneSection, LoraSection, TuningOptimizer
from forja.recipe.training import ModelSection, OptimizerSection, Schedule, TrainingSection, fitting_objective
from forja.recipe.whole import (
    RECIPE_FORMAT,
    EvaluationSection,
    PlanSection,
    Recipe,
    ReportSection,
    TokenizerSection,
    TokensSection,
)

__all__ = [
    "RECIPE_FORMAT",
    "CorpusSection",
    "DecontaminationSection",
    "EvaluationSection",
    "ExamplesSection",
    "FinetuneKind",
    "FinetuneSection",
    "LoraSection",
    "ModelSection",
    "NearDuplicates",
    "OptimizerSection",
    "PlanSection",
    "Privacy",
    "QualitySection",
    "Recipe",
    "ReportSection",
    "Schedule",
    "ScreenSection",
    "Source",
    "SynthSection",
    "TokenizerSection",
    "TokensSection",
    "TrainingSection",
    "TuningOptimizer",
    "fitting_objective",
]
