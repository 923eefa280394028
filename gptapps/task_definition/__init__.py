"""TOML files that say what a task is: schema, families, checks and reading."""

from gptapps.task_definition.checks import shot_problem, template_problem
from gptapps.task_definition.families import FAMILIES, Family
from gptapps.task_definition.reading import load_task_definition
from gptapps.task_definition.schema import Defaults, PromptTexts, TaskDefinition
from gptapps.task_definition.writing import task_definition_toml

__all__ = [
    "FAMILIES",
    "Defaults",
    "Family",
    "PromptTexts",
    "TaskDefinition",
    "load_task_definition",
    "shot_problem",
    "task_definition_toml",
    "template_problem",
]
