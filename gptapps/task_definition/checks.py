"""Checks of a definition that need its family: templates, shots, labels, and keys that would mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gptapps.registry import suggestion
from gptapps.task_definition.families import Family
from gptapps.task_definition.schema import TaskDefinition

Problem = tuple[tuple[str | int, ...], str]
"""Where in the file, and what is wrong there and what to do."""

CHAT_KEYS = ("system", "answer_start", "chat_stop")
FAMILY_KEYS = ("labels", "label_words", "content_free", "fields")


def definition_problems(definition: TaskDefinition) -> Iterator[Problem]:
    """Yield what the schema accepts and the definition's family doesn't."""
    yield from _surplus_keys(definition)
    yield from _label_problems(definition)
    for language, texts in definition.prompts.items():
        if texts.user is None and texts.plain is None:
            yield ("prompts", language), "has neither 'user' nor 'plain'; add one of the two"
        for key in CHAT_KEYS if texts.user is None else ():
            if getattr(texts, key):
                yield ("prompts", language, key), "stands without 'user', so no chat shows it; add 'user' or remove it"
        for key in ("user", "plain", "system", "preamble"):
            source = getattr(texts, key)
            central = definition.family.central if key in ("user", "plain") else ()
            fault = template_problem(source, definition.family, central) if source else None
            if fault:
                yield ("prompts", language, key), fault
    for position, shot in enumerate(definition.shots):
        fault = shot_problem(shot, definition.family, definition.labels)
        tongue = shot.get("language")
        if not fault and tongue is not None and tongue not in definition.prompts:
            fault = f"has the language {tongue!r}, in which there are no prompts; write [prompts.{tongue}]"
        if fault:
            yield ("shots", position), fault


def template_problem(source: str, family: Family, central: Iterable[str] = ()) -> str | None:
    """Say what is wrong with a template before anything is rendered, or return ``None``.

    Args:
        source: jinja2 source.
        family: decides which variables exist.
        central: variables the template has to name.

    Example:
        >>> template_problem("{{ txt }}", FAMILIES["scoring"])
        "names the unknown variable 'txt'. Did you mean 'text'? Variables: text"
    """
    import jinja2  # late: `import gptapps` stays quick
    from jinja2 import meta

    environment = jinja2.Environment()
    try:
        tree = environment.parse(source)
        named = meta.find_undeclared_variables(tree) - environment.globals.keys()
    except jinja2.TemplateSyntaxError as error:
        reason = (error.message or "").rstrip(".?")
        return f"is not a valid template (line {error.lineno} of the template: {reason}); mend it"
    except RecursionError:
        return "is nested too deeply; write it flatter"
    if any(True for _ in meta.find_referenced_templates(tree)):
        return "includes another template, which a definition can't do; write the text out"
    for name in sorted(named - set(family.variables)):
        return (
            f"names the unknown variable {name!r}.{suggestion(name, family.variables)} "
            f"Variables: {', '.join(family.variables)}"
        )
    for name in central:
        if name not in named:
            return f"never names {name!r}, so the model would not see it; write {{{{ {name} }}}} where it belongs"
    return None


def shot_problem(shot: Mapping[str, str], family: Family, labels: Iterable[str] = ()) -> str | None:
    """Say why ``shot`` can't be shown to a model, or return ``None``.

    Args:
        shot: key -> text.
        family: decides which keys a shot has.
        labels: what a shot's label has to be among, if there are any.
    """
    keys = set(shot) - {"language"}
    if family.shots == "none":
        return "is an example, and this pipeline shows none; remove it"
    if family.shots == "parallel":
        wrong = sorted(key for key in keys if not (key.isalpha() and key.islower() and 2 <= len(key) <= 3))
        if wrong:
            return f"has the key {wrong[0]!r}; write language codes such as 'en' and 'fr'"
        return None if len(keys) > 1 else "holds fewer than two languages; add the same sentence in another"
    wanted = (*family.central, family.answer)
    for key in wanted:
        if key not in keys:
            return f"has no {key!r}; a shot holds {', '.join(wanted)}"
    allowed = (*wanted, *family.optional)
    for key in sorted(keys - set(allowed)):
        return f"has the unknown key {key!r}.{suggestion(key, allowed)} A shot holds {', '.join(wanted)}"
    labels = tuple(labels)
    if family.answer == "label" and labels and shot["label"] not in labels:
        return f"has the label {shot['label']!r}, which is not among the labels: {', '.join(labels)}"
    return None


def _surplus_keys(definition: TaskDefinition) -> Iterator[Problem]:
    family, pipeline = definition.family, definition.pipeline
    for key in FAMILY_KEYS:
        if getattr(definition, key) and key not in family.keys:
            yield (key,), f"means nothing to the pipeline {pipeline!r}; remove it"
    if family.defaults is not None:
        for key in definition.defaults.model_dump(exclude_none=True).keys() - set(family.defaults):
            known = ", ".join(family.defaults)
            yield ("defaults", key), f"means nothing to the pipeline {pipeline!r}; remove it. It has: {known}"
    if family.behaviours is not None:
        for name, value in definition.behaviours.items():
            choices = family.behaviours.get(name)
            if choices is None:
                known = ", ".join(family.behaviours) or "none"
                yield ("behaviours", name), f"is no behaviour of the pipeline {pipeline!r}. It has: {known}"
            elif value not in choices:
                yield ("behaviours", name), f"is {value!r}; choose one of: {', '.join(choices)}"


def _label_problems(definition: TaskDefinition) -> Iterator[Problem]:
    labels = definition.labels
    for label in dict.fromkeys(label for label in labels if labels.count(label) > 1):
        yield ("labels",), f"holds {label!r} more than once; keep one"
    if len(labels) == 1:
        yield ("labels",), "holds one label only; add another, or remove the key and let the caller bring them"
    for language, words in definition.label_words.items():
        if language not in definition.prompts:
            yield ("label_words", language), f"words labels for a language without prompts; write [prompts.{language}]"
        for label in words.keys() - set(labels):
            yield (
                ("label_words", language, label),
                (f"words a label there is not.{suggestion(label, labels)} Labels: {', '.join(labels) or 'none'}"),
            )
        wordings = [definition.wording(label, language) for label in labels]
        for wording in dict.fromkeys(wording for wording in wordings if wordings.count(wording) > 1):
            yield ("label_words", language), f"gives two labels the wording {wording!r}; give each its own"
