"""The page of a comparison in a browser: it works, asks the network for nothing, and takes no text for markup."""

from collections.abc import Iterator
from urllib.parse import urlparse

import pandas as pd
import pytest

from support.browser import Tab, opened
from winnow.report.compared import EXAMPLES, Compared
from winnow.report.page import Page, render

EVIL = "<script>window.hurt = 1; console.error('hurt')</script><img src='http://example.org/x.png' onerror='hurt()'>"
# What would end the element that holds the figures.
CLOSING = "</script><b id='out'>"


def examples(arm: str, number: int, scored: bool = True) -> pd.DataFrame:
    lines = []
    for place in range(number):
        text = f"user: {arm} asks for the number {place}\n\nassistant: {place}"
        score = 1.0 - place / 10 if scored else float("nan")
        end = "top" if place < number / 2 else "bottom"
        lines.append((end, place + 1, score, place % 3, f"math/{arm}.jsonl:{place}", text))
    return pd.DataFrame(lines, columns=EXAMPLES)


def arm(name: str, accuracy: float, **values: object) -> Compared:
    metrics = {"evaluate/accuracy": accuracy, "evaluate/accuracy_ci": 0.02, "evaluate/loss": 1 - accuracy}
    metrics |= {"evaluate/accuracy/math": accuracy, "evaluate/accuracy_ci/math": 0.03}
    metrics |= {"cost/seconds": 100 * accuracy, "cost/choosing_seconds": 3.0, "selection/rows/math": 9.0}
    return Compared(name=name, arm=name, metrics=metrics, **values)


def study() -> list[Compared]:
    evil = examples("less", 26)
    evil.loc[0, "text"] = f"user: {EVIL}"
    evil.loc[1, "example_id"] = f"{CLOSING}.jsonl:1"
    tested = {"control": "random", "effect": 0.05, "effect_ci": 0.02, "p_holm": 0.01, "seeds_needed": 4}
    return [
        arm(
            "random",
            0.5,
            params={"finetune.lr": "0.001", "arm.choice": "random"},
            examples=examples("random", 10, False),
        ),
        arm("less", 0.55, params={"finetune.lr": "0.01"}, verdict=f"better {CLOSING}", examples=evil, **tested),
        arm(CLOSING, 0.4, params={"arm.choice": EVIL}, control="random"),
        Compared("late", "late"),
    ]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("page")
    page = folder / "comparison.html"
    page.write_text(render(Page(f"Study {EVIL}", study(), {"split.seed": EVIL, "a": "b"}, ["take care"])), "utf-8")
    with opened(folder / "browser") as tab:
        tab.look(1200)
        tab.open(page)
        yield tab


def shown(tab: Tab) -> list[str]:
    return tab.run("[...document.querySelectorAll('.example:not([hidden])')].map((one) => one.textContent)")


def search(tab: Tab, text: str, arm: str = "", end: str = "") -> list[str]:
    """What is shown when this was typed and chosen."""
    tab.run(f"document.getElementById('arm').value = {arm!r}; document.getElementById('end').value = {end!r};")
    tab.run(f"document.getElementById('search').value = {text!r};")
    tab.run("document.getElementById('search').dispatchEvent(new Event('input', {bubbles: true}))")
    return shown(tab)


def column(tab: Tab, place: int) -> list[str]:
    script = "[...document.getElementById('table').tBodies[0].rows].map((row) => row.cells[PLACE].textContent.trim())"
    return tab.run(script.replace("PLACE", str(place)))


def test_every_figure_is_drawn(tab: Tab):
    figures = tab.run("[...document.querySelectorAll('.plot')].map((one) => one.querySelectorAll('svg').length)")
    assert len(figures) == 3
    assert all(figures)
    assert tab.run("document.querySelectorAll('#plot-1 .errorbar').length") == 2 * len(study())
    assert tab.run("document.querySelectorAll('#plot-2 .scatterlayer .points path').length") == 3


def test_text_is_never_markup(tab: Tab):
    assert tab.run("window.hurt") is None
    assert tab.run("document.getElementById('out')") is None
    assert tab.run("document.images.length") == 0
    assert tab.run("document.querySelector('h1').textContent") == f"Study {EVIL}"
    assert any(EVIL in text for text in search(tab, "<script>window.hurt"))


def test_the_search_finds_by_text_id_and_arm(tab: Tab):
    assert len(search(tab, "")) == 20
    assert [text for text in search(tab, "NUMBER 13") if "13" in text] == search(tab, "number 13") != []
    assert len(search(tab, "less.jsonl:25")) == 1
    assert len(search(tab, "random asks")) == 10
    assert search(tab, "no such words") == []
    assert tab.run("document.getElementById('found').textContent").startswith("0 of 0 that fit, of 36")


def test_examples_are_chosen_by_arm_and_end_and_shown_a_few_at_a_time(tab: Tab):
    assert len(search(tab, "", arm="random", end="bottom")) == 5
    assert len(search(tab, "", arm="less")) == 20
    tab.run("document.getElementById('more').click()")
    assert len(shown(tab)) == 26
    assert tab.run("document.getElementById('more').hidden") is True


def test_a_row_without_a_score_is_called_neither_high_nor_low(tab: Tab):
    assert all("random · first" in text and "score" not in text for text in search(tab, "", arm="random", end="top"))
    assert all("less · lowest" in text and "score" in text for text in search(tab, "", arm="less", end="bottom"))


def test_a_heading_sorts_and_sorts_back(tab: Tab):
    place = tab.run("[...document.querySelectorAll('#table thead th')].findIndex((one) => one.textContent == 'all')")
    press = f"document.querySelectorAll('#table thead button')[{place}].click()"
    tab.run(press)
    assert column(tab, place) == ["55.0 ± 2.0", "50.0 ± 2.0", "40.0 ± 2.0", ""]
    tab.run(press)
    assert column(tab, place) == ["40.0 ± 2.0", "50.0 ± 2.0", "55.0 ± 2.0", ""]
    assert tab.run(f"document.querySelectorAll('#table thead th')[{place}].ariaSort") == "ascending"
    tab.run("document.querySelectorAll('#table thead button')[0].click()")
    assert column(tab, 0) == [CLOSING, "late", "less", "random"]


def test_only_parameters_that_differ_are_columns(tab: Tab):
    headings = tab.run("[...document.querySelectorAll('#table thead th')].map((one) => one.textContent)")
    assert headings[-2:] == ["finetune.lr", "arm.choice"]
    settings = tab.run("[...document.querySelectorAll('.settings tr')].map((one) => one.textContent.trim())")
    assert settings == ["ab", f"split.seed{EVIL}"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [500, 1200])
def test_the_page_fits_and_can_be_read(tab: Tab, width: int, dark: bool):
    tab.look(width, dark)
    tab.until(f"document.documentElement.scrollWidth <= {width}")
    assert tab.run("document.querySelector('.plot .main-svg').clientWidth") <= width
    for inner, outer in (
        ("body", "body"),
        (".note", "body"),
        (".chip.top", ".chip.top"),
        (".chip.bottom", ".chip.bottom"),
    ):
        assert contrast(tab, inner, outer) >= 4.5, inner
    axis = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    tab.until(f"{axis} === getComputedStyle(document.body).color")


def test_what_is_interactive_can_be_named(tab: Tab):
    script = "[...document.querySelectorAll('input, select')].map((one) => one.labels[0].textContent.trim() !== '')"
    assert set(tab.run(script)) == {True}
    assert tab.run("document.documentElement.lang") == "en"
    named = "(one) => document.getElementById(one.getAttribute('aria-labelledby')).textContent"
    assert tab.run(f"[...document.querySelectorAll('[role=img]')].map({named})")[:2] == [
        "Accuracy",
        "Gain against cost",
    ]


def test_every_column_but_parameters_is_explained_without_a_pointer(tab: Tab):
    headings = tab.run("[...document.querySelectorAll('#table thead th')].map((one) => one.textContent)")
    lines = "[...document.querySelectorAll('.legend div')]"
    legend = dict(tab.run(f"{lines}.map((one) => [...one.children].map((part) => part.textContent))"))
    assert list(legend) == headings[1:-2]
    assert all(legend.values())


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(tab: Tab):
    """Last: after all that the other tests did."""
    tab.run("fetch('https://example.org/').catch(() => 'refused')")
    refused = [entry for entry in tab.complaints() if "example.org" in str(entry)]
    assert refused, "the browser tells of what is tried"
    assert [entry for entry in tab.complaints() if "example.org" not in str(entry)] == []
    assert {urlparse(address).scheme for address in tab.requests()} <= {"file", "data", "blob"}


def contrast(tab: Tab, inner: str, outer: str) -> float:
    """WCAG's ratio of the text's luminance to its ground's."""
    script = "(one, what) => getComputedStyle(document.querySelector(one))[what].match(/[\\d.]+/g).map(Number)"
    text = tab.run(f"({script})({inner!r}, 'color')")
    ground = tab.run(f"({script})({outer!r}, 'backgroundColor')")
    low, high = sorted((_luminance(text), _luminance(ground)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: list[float]) -> float:
    parts = [value / 255 for value in color[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
