"""A definition says what it means or is refused with file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gptapps.errors import OptionError, TaskDefinitionError
from gptapps.task_definition import FAMILIES, TaskDefinition, load_task_definition, shot_problem, template_problem

CLASSIFY = """
schema_version = 1
pipeline = "classification"
summary = "Sorts letters"
aliases = ["post"]
metrics = ["accuracy"]
labels = ["bill", "love"]

[label_words.zh]
bill = "账单"
love = "情书"

[prompts.en]
user = "{{ text }}"

[prompts.zh]
user = "{{ text }}"
needs = ["chinese"]

[[shots]]
language = "en"
text = "Please pay by Friday."
label = "bill"

[[shots]]
text = "I miss you."
label = "love"
"""


def write(folder: Path, content: str, name: str = "letters.toml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def load(folder: Path, content: str, name: str = "letters.toml") -> TaskDefinition:
    return load_task_definition(write(folder, content, name))


def refusal(folder: Path, content: str, name: str = "letters.toml") -> str:
    with pytest.raises(TaskDefinitionError) as caught:
        load(folder, content, name)
    message = str(caught.value)
    assert str(folder / name) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_definition_is_read(tmp_path: Path) -> None:
    definition = load(tmp_path, CLASSIFY)
    assert definition.id == "letters"
    assert definition.origin == str(tmp_path / "letters.toml")
    assert (definition.aliases, definition.head) == (("post",), "language_model")
    assert definition.languages == ("en", "zh")
    assert definition.wording("bill", "zh") == "账单"
    assert definition.wording("bill", "en") == "bill"
    assert definition.needs_in("en") == ()
    assert definition.needs_in("zh") == ("chinese",)


def test_shots_tied_to_a_language_stay_with_it(tmp_path: Path) -> None:
    definition = load(tmp_path, CLASSIFY)
    assert [shot["label"] for shot in definition.shots_in("en")] == ["bill", "love"]
    assert [shot["label"] for shot in definition.shots_in("zh")] == ["love"]


def test_a_definition_can_not_be_changed(tmp_path: Path) -> None:
    definition = load(tmp_path, CLASSIFY)
    with pytest.raises(ValidationError, match="frozen"):
        definition.summary = "other"  # type: ignore[misc]


def test_a_language_without_prompts_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no prompts in the language 'fr'.*It has: en, zh"):
        load(tmp_path, CLASSIFY).prompt_texts("fr")


def test_a_behaviour_not_given_is_the_familys_first(tmp_path: Path) -> None:
    source = 'schema_version = 1\npipeline = "question_answering"\nsummary = "Answers"\n{}\n[prompts.en]\n'
    prompt = 'user = "{{{{ question }}}} {{{{ context }}}}"\n'
    first = FAMILIES["question_answering"].behaviours["answer"][0]  # type: ignore[index]
    assert load(tmp_path, (source + prompt).format("")).behaviour("answer") == first
    told = load(tmp_path, (source + prompt).format('behaviours.answer = "extractive"'))
    assert told.behaviour("answer") == "extractive"
    assert told.behaviour("unheard_of") is None


def test_a_plugin_pipeline_brings_its_own_variables(tmp_path: Path) -> None:
    source = 'schema_version = 1\npipeline = "poetry"\nsummary = "Rhymes"\nfields = ["topic"]\n[prompts.en]\n'
    assert load(tmp_path, source + 'user = "{{ topic }}"').family.variables == ("topic",)
    assert "Variables: topic" in refusal(tmp_path, source + 'user = "{{ topic }} {{ text }}"')


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('aliases = ["post"]', 'alias = ["post"]', "'alias' is not a key there. Did you mean 'aliases'?"),
        ("labels = [", 'id = "x"\nlabels = [', "'id' is not a key of the file"),
        ("needs = [", "nedes = [", "'prompts.zh.nedes' is not a key there. Did you mean 'needs'?"),
        ("schema_version = 1", "", "'schema_version' is missing; add it: schema_version = 1"),
        ("schema_version = 1", "schema_version = 2", "this release of gptapps reads 1"),
        ('pipeline = "classification"', "", "'pipeline' is missing"),
        ('aliases = ["post"]', "aliases = [5]", "'aliases entry 1' is 5; write a text in quotes"),
        ('aliases = ["post"]', 'aliases = "post"', "'aliases' is 'post'; write a list"),
        ('metrics = ["accuracy"]', 'metrics = ["a b"]', "'metrics entry 1' is 'a b'; write a name"),
        ('[prompts.en]\nuser = "{{ text }}"', "[prompts.en]", "'prompts.en' has neither 'user' nor 'plain'"),
        ('[prompts.en]\nuser = "{{ text }}"', '[prompts.EN]\nuser = "{{ text }}"', "'prompts.EN' is 'EN'"),
        ('user = "{{ text }}"', 'user = "{{ txt }}"', "Did you mean 'text'? Variables: text, labels, text_pair"),
        ('user = "{{ text }}"', 'plain = "{{ text }}"\nsystem = "x"', "'prompts.en.system' stands without 'user'"),
        ('user = "{{ text }}"', 'user = "Hello"', "never names 'text'"),
        ('user = "{{ text }}"', 'user = "{{ text "', "is not a valid template"),
        ('user = "{{ text }}"', "user = \"{{ text }}{% include 'x' %}\"", "includes another template"),
        ('labels = ["bill", "love"]', 'labels = ["bill", "bill"]', "holds 'bill' more than once"),
        ('labels = ["bill", "love"]', 'labels = ["bill"]', "holds one label only"),
        ('bill = "账单"', 'bil = "账单"', "words a label there is not. Did you mean 'bill'?"),
        ('love = "情书"', 'love = "账单"', "gives two labels the wording '账单'"),
        ("[label_words.zh]", "[label_words.fr]", "'label_words.fr' words labels for a language without prompts"),
        ('label = "bill"', 'label = "bil"', "'shots entry 1' has the label 'bil'"),
        ('label = "bill"', 'lable = "bill"', "'shots entry 1' has no 'label'"),
        ('label = "bill"', 'label = "bill"\ntetx = "x"', "has the unknown key 'tetx'. Did you mean 'text'?"),
        ('language = "en"', 'language = "fr"', "has the language 'fr', in which there are no prompts"),
        ("[prompts.en]", '[defaults]\noverflow = "drop"\n[prompts.en]', "choose 'error', 'truncate' or 'chunk'"),
        ("[prompts.en]", "[defaults]\nmax_words = 9\n[prompts.en]", "'defaults.max_words' means nothing to"),
        ("[prompts.en]", "[defaults]\nmax_wrods = 9\n[prompts.en]", "Did you mean 'max_words'?"),
        ("[prompts.en]", '[defaults]\nmax_words = "9"\n[prompts.en]', "is '9'; write a whole number"),
        ("[prompts.en]", "[defaults]\ntop_p = 1.5\n[prompts.en]", "is 1.5; write a number of at most 1"),
        ("[prompts.en]", '[behaviours]\nmood = "merry"\n[prompts.en]', "'behaviours.mood' is no behaviour of"),
        ("[prompts.en]", "[prompts.en", "is not valid TOML"),
    ],
)
def test_a_mistake_names_key_and_remedy(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in CLASSIFY
    assert expected in refusal(tmp_path, CLASSIFY.replace(old, new, 1))


@pytest.mark.parametrize(
    ("pipeline", "extra", "expected"),
    [
        ("summarization", 'labels = ["a", "b"]', "'labels' means nothing to the pipeline 'summarization'"),
        ("generation", '[[shots]]\ntext = "a"', "this pipeline shows none; remove it"),
        ("scoring", "defaults.temperature = 1.0", "'defaults.temperature' means nothing to the pipeline 'scoring'"),
        ("summarization", 'fields = ["text"]', "'fields' means nothing"),
    ],
)
def test_what_means_nothing_to_a_family_is_refused(tmp_path: Path, pipeline: str, extra: str, expected: str) -> None:
    head = f'schema_version = 1\npipeline = "{pipeline}"\nsummary = "s"\nprompts.en.user = "{{{{ text }}}}"\n'
    load(tmp_path, head)
    assert expected in refusal(tmp_path, f"{head}{extra}")


def test_every_mistake_of_the_file_is_listed(tmp_path: Path) -> None:
    broken = CLASSIFY.replace("summary", "sumary").replace('aliases = ["post"]', "aliases = 5")
    message = refusal(tmp_path, broken)
    assert "has 3 mistakes: (1)" in message
    for part in ("'summary' is missing", "Did you mean 'summary'?", "'aliases' is 5"):
        assert part in message


def test_an_unknown_behaviour_value_names_the_choices(tmp_path: Path) -> None:
    source = (
        'schema_version = 1\npipeline = "question_answering"\nsummary = "s"\nbehaviours.answer = "loud"\n'
        'prompts.en.user = "{{ question }} {{ context }}"'
    )
    assert "is 'loud'; choose one of: extractive" in refusal(tmp_path, source)


def test_a_file_name_that_is_no_id_is_refused(tmp_path: Path) -> None:
    assert "rename it" in refusal(tmp_path, CLASSIFY, "my letters.toml")


def test_files_that_can_not_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(TaskDefinitionError, match=r"There is no task definition .*absent\.toml; check the path"):
        load_task_definition(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(TaskDefinitionError, match="can't be read"):
        load_task_definition(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b'summary = "\xe9"')
    with pytest.raises(TaskDefinitionError, match="save it as UTF-8"):
        load_task_definition(tmp_path / "latin.toml")


def test_names_that_jinja_itself_brings_are_no_unknown_variables() -> None:
    family = FAMILIES["generation"]
    assert template_problem("{% for i in range(2) %}{{ i }}{% endfor %}{{ text }}", family, ("text",)) is None


@pytest.mark.parametrize(
    ("shot", "expected"),
    [
        ({"en": "Yes.", "fr": "Oui."}, None),
        ({"en": "Yes."}, "fewer than two languages"),
        ({"en": "Yes.", "French": "Oui."}, "the key 'French'"),
    ],
)
def test_a_translations_shot_is_one_sentence_in_several_languages(shot: dict[str, str], expected: str | None) -> None:
    problem = shot_problem(shot, FAMILIES["translation"])
    assert problem is None if expected is None else expected in (problem or "")
