"""Reports in a real browser: nothing overflows, day and night, readable, alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_runs import Prediction, label, summary, translation, write_run

from gptapps import compare
from gptapps.evaluation.report.comparison_page import write_comparison
from gptapps.evaluation.report.page import write_report

pytestmark = pytest.mark.browser

Opened = Callable[..., Any]

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 4
URL = "https://example.org/" + "a-very/long/path/" * 20 + "?query=" + "x" * 150
EVIL = "<script>document.title='hacked'</script><img src='https://example.org/x.png' onerror='alert(1)'>"
CHINESE = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 6
RIGHT_TO_LEFT = "السفينة الصغيرة تبحر ببطء"
TEXTS = [LONG, URL, EVIL, CHINESE, RIGHT_TO_LEFT, "An ordinary boat sails home slowly."]
MANY = [f"label_number_{place}" for place in range(24)] + [LONG[:90], "体育新闻"]

# Text against what lies behind it, in the colours that the browser computed, translucent ones laid over each other.
CONTRASTS = """() => {
  const parse = text => {
    const numbers = text.match(/-?[\\d.]+(?:e-?\\d+)?/g).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;
    return {rgb: numbers.slice(0, 3).map(one => one * scale), alpha: numbers.length > 3 ? numbers[3] : 1};
  };
  const over = (top, below) => top.rgb.map((one, i) => one * top.alpha + below[i] * (1 - top.alpha));
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = rgb => {
    const linear = rgb.map(one => one / 255).map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('title, style')) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest('svg') ? style.fill : style.color);
    const ground = behind(element);
    const pair = [luminance(over(colour, ground)), luminance(ground)].sort((a, b) => b - a);
    const text = walker.currentNode.textContent.trim().slice(0, 40);
    found.push({text: text, contrast: (pair[0] + 0.05) / (pair[1] + 0.05)});
  }
  return found;
}"""

WIDER_THAN_THEIR_BOX = """() => [...document.body.querySelectorAll('*')]
  .filter(one => !one.closest('.scroll, .prompt, svg, details:not([open]) > :not(summary)'))
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a run with many labels, of one with awkward texts, and a comparison of two such."""
    folder = tmp_path_factory.mktemp("pages")
    golds = [MANY[place % len(MANY)] for place in range(60)]
    labelled = [label(MANY[place * 3 % len(MANY)], 0.3 + place / 100, MANY) for place in range(60)]
    baselines = {"majority_label": [label(MANY[0], 0.5, MANY)] * 60, "longest_name": [label(MANY[1], 0.5, MANY)] * 60}
    long_prompts = [f"Choose.\n{TEXTS[place % 6]}\n{place}" for place in range(60)]
    runs = {
        "labels": write_run(
            folder / "labels",
            labelled,
            golds,
            ["accuracy", "log_loss"],
            model=LONG,
            prompts=long_prompts,
            baselines=baselines,
            names={"model": LONG, "data": URL},
        ),
        "texts": _texts(folder / "texts", "a model", 0),
        "other": _texts(folder / "other", LONG[:120], 1),
    }
    found = {name: write_report(run) for name, run in runs.items()}
    compared = compare(runs["texts"], runs["other"], examples=6)
    return {**found, "comparison": write_comparison(compared, folder / "comparison.html")}


def _texts(folder: Path, model: str, offset: int) -> Path:
    predictions: list[Prediction] = [summary(TEXTS[(place + offset * (place % 3)) % 6]) for place in range(24)]
    golds = [(TEXTS[place % 6], f"another {TEXTS[place % 6]}") for place in range(24)]
    prompts = [f"Summarize.\n\n{TEXTS[(place + 1) % 6]}\n{place}\nSummary:" for place in range(24)]
    return write_run(folder, predictions, golds, ["rouge1"], model=model, prompts=prompts, language="zh")


PAGES = pytest.mark.parametrize("name", ["labels", "texts", "comparison"])


@PAGES
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1200, "light")])
def test_nothing_overflows(pages: dict[str, Path], opened: Opened, name: str, width: int, scheme: str) -> None:
    page = opened(pages[name], width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDER_THAN_THEIR_BOX) == []
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDER_THAN_THEIR_BOX) == []


def test_a_wide_table_scrolls_inside_its_box(pages: dict[str, Path], opened: Opened) -> None:
    page = opened(pages["labels"], 400)
    box = "document.querySelector('.matrix').parentElement"
    assert page.evaluate(f"{box}.scrollWidth > {box}.clientWidth + 100")
    assert page.evaluate(f"getComputedStyle({box}).overflowX") == "auto"
    assert page.evaluate(f"{box}.tabIndex") == 0  # the keyboard reaches it


@PAGES
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(pages: dict[str, Path], opened: Opened, name: str, scheme: str) -> None:
    page = opened(pages[name], 1200, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [one for one in found if one["contrast"] < 4.5] == []  # WCAG 2.2, level AA


@PAGES
def test_day_and_night_differ_in_page_and_plots(pages: dict[str, Path], opened: Opened, name: str) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = opened(pages[name], 1200, scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        plots = page.evaluate("[...document.querySelectorAll('svg text')].map(one => getComputedStyle(one).fill)")
        colours.append((ground, set(plots)))
    (day, day_plots), (night, night_plots) = colours
    assert day != night
    assert bool(day_plots) == (name != "comparison")
    assert not day_plots & night_plots


def test_the_plots_are_drawn(pages: dict[str, Path], opened: Opened) -> None:
    page = opened(pages["labels"], 400)
    boxes = page.evaluate("[...document.querySelectorAll('svg.plot')].map(one => one.getBoundingClientRect().toJSON())")
    assert len(boxes) == 2
    assert all(box["width"] > 250 and box["height"] > 150 for box in boxes)
    sizes = "[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height)"
    assert min(page.evaluate(sizes)) > 8  # labels stay readable


def test_text_from_elsewhere_stays_text(pages: dict[str, Path], opened: Opened) -> None:
    for name in ("texts", "comparison"):
        page = opened(pages[name], 400)
        assert page.title().startswith("sentiment on reviews")
        assert page.evaluate("document.scripts.length + document.images.length") == 0
        assert "<script>document.title" in page.inner_text("main")
    assert "床前明月光" in page.inner_text("main")


@PAGES
def test_a_screen_reader_finds_its_way(pages: dict[str, Path], opened: Opened, name: str) -> None:
    page = opened(pages[name], 1200)
    assert page.evaluate("document.documentElement.lang") == "en"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    asked = page.evaluate(
        "[...document.querySelectorAll('[aria-labelledby]')].map(one => one.getAttribute('aria-labelledby'))"
    )
    links = page.evaluate("[...document.querySelectorAll('a')].map(one => one.getAttribute('href'))")
    assert {*asked, *(link.removeprefix("#") for link in links)} <= set(ids)
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.evaluate("[...document.querySelectorAll('svg')].every(one => one.querySelector('title').textContent)")
    unnamed = (
        "[...document.querySelectorAll('[role=region]')].filter(one => !one.ariaLabel && !one.ariaLabelledByElements)"
    )
    assert page.evaluate(f"{unnamed}.length") == 0


def test_on_paper_it_is_black_on_white(pages: dict[str, Path], opened: Opened) -> None:
    page = opened(pages["labels"], 1200, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert [one for one in page.evaluate(CONTRASTS) if one["contrast"] < 4.5] == []


def test_text_translated_into_chinese_is_marked(tmp_path: Path, opened: Opened) -> None:
    folder = write_run(
        tmp_path / "zh", [translation("小船慢慢回家。", "zh")] * 2, [("小船回家。",)] * 2, ["chrf"], language="zh"
    )
    page = opened(write_report(folder), 400)
    marks = page.evaluate("[...document.querySelectorAll('article mark')].map(one => one.textContent)")
    assert marks[:4] == ["小船", "回家", "小船回家", "小船"]
