"""From an example and a task definition to the text a model is given."""

from gptapps.prompts.adapters import ChatTokenizer, Prompt, PromptAdapter
from gptapps.prompts.languages import LANGUAGES, language_name
from gptapps.prompts.template import PromptTemplate

__all__ = ["LANGUAGES", "ChatTokenizer", "Prompt", "PromptAdapter", "PromptTemplate", "language_name"]
