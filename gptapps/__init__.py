"""gptapps: any GPT checkpoint as a working NLP application.

    from gptapps import pipeline

    summarize = pipeline("summarize")
    print(summarize("A long text …").text)

The public names are loaded when first used, so that importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptapps.errors import GPTAppsError
    from gptapps.evaluation.compare import compare
    from gptapps.evaluation.evaluate import evaluate
    from gptapps.examples import (
        ChoiceExample,
        ClassificationExample,
        GenerationExample,
        MultiLabelExample,
        QuestionExample,
        ScoringExample,
        SummarizationExample,
        TranslationExample,
    )
    from gptapps.integrations.transformers import register_attention
    from gptapps.outputs import (
        Answer,
        Choice,
        Classification,
        Generation,
        Labelling,
        Likelihood,
        Summary,
        Translation,
        Usage,
    )
    from gptapps.pipelines.factory import pipeline
    from gptapps.task_catalog import tasks
    from gptapps.training.finetune import finetune
    from gptapps.training.pretraining.pretrain import pretrain

__version__ = "0.1.0"

_HOMES = {
    "GPTAppsError": "gptapps.errors",
    "compare": "gptapps.evaluation.compare",
    "evaluate": "gptapps.evaluation.evaluate",
    "ChoiceExample": "gptapps.examples",
    "MultiLabelExample": "gptapps.examples",
    "ClassificationExample": "gptapps.examples",
    "GenerationExample": "gptapps.examples",
    "QuestionExample": "gptapps.examples",
    "ScoringExample": "gptapps.examples",
    "SummarizationExample": "gptapps.examples",
    "TranslationExample": "gptapps.examples",
    "Answer": "gptapps.outputs",
    "Choice": "gptapps.outputs",
    "Labelling": "gptapps.outputs",
    "Classification": "gptapps.outputs",
    "Generation": "gptapps.outputs",
    "Likelihood": "gptapps.outputs",
    "Summary": "gptapps.outputs",
    "Translation": "gptapps.outputs",
    "Usage": "gptapps.outputs",
    "pipeline": "gptapps.pipelines.factory",
    "finetune": "gptapps.training.finetune",
    "pretrain": "gptapps.training.pretraining.pretrain",
    "register_attention": "gptapps.integrations.transformers",
    "tasks": "gptapps.task_catalog",
}

__all__ = [
    "Answer",
    "Choice",
    "ChoiceExample",
    "Classification",
    "ClassificationExample",
    "GPTAppsError",
    "Generation",
    "GenerationExample",
    "Labelling",
    "Likelihood",
    "MultiLabelExample",
    "QuestionExample",
    "ScoringExample",
    "SummarizationExample",
    "Summary",
    "Translation",
    "TranslationExample",
    "Usage",
    "__version__",
    "compare",
    "evaluate",
    "finetune",
    "pipeline",
    "pretrain",
    "register_attention",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptapps' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
