"""The page in a real browser: keys, filters, deep links, small screens, hostile text, no request, no complaint."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.report.write import write_report
from tests.chromium import PROGRAM, Chromium
from tests.pipelines.report.folders import write_analysis, write_evaluation, write_run, wrong_at

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")

HOSTILE = (
    "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script>\0\u202eevil "
    "http://example.invalid/x.png " + "w" * 300
)
HIDDEN = "[...document.querySelectorAll('#browser .items > li')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def page(results, world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    folders = [
        f"{label}={results / kind / name}"
        for kind in ("", "runs")
        for label, name in (("base", "baseline"), ("VIRAL", "viral"))
    ]
    write_report([*folders, results / "analysis"], out, world)
    return out


@pytest.fixture(scope="module")
def hostile(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_evaluation(folder / "a", world, lambda index, item: HOSTILE)
    write_evaluation(folder / "b", world, wrong_at(2, HOSTILE))
    write_evaluation(folder / "c", world, wrong_at(5), names=("cvbench",))
    write_run(folder / "run", "micro_viral", 3)
    write_analysis(folder / "d", "pca", title=HOSTILE)
    label = HOSTILE.replace("=", "").replace("\0", "")
    out = folder / "report.html"
    write_report(
        [
            f"{label}={folder / 'a'}",
            *(folder / name for name in "bc"),
            f"{label}={folder / 'run'}",
            folder / "d",
        ],
        out,
        world,
    )
    return out


def shown(browser: Chromium) -> list[str]:
    """Ids of the items on screen."""
    return browser.evaluate(
        f"{HIDDEN}.map(li => li.querySelector('.where').firstChild.data.split(' \\u00b7 ').pop())"
    )


def status(browser: Chromium) -> str:
    return browser.evaluate("document.querySelector('#browser [role=status]').textContent")


def counts(browser: Chromium) -> dict[str, str]:
    return browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[name=filter]')]"
        ".map(radio => [radio.value, radio.parentElement.querySelector('b').textContent]))"
    )


def items_of(page: Path) -> list[dict]:
    text = page.read_text().split('id="item-data">')[1].split("</script>")[0]
    return json.loads(text)["items"]


def outcome(item: dict) -> str:
    first, second = (reply[2] for reply in item["replies"])
    return ["wrong", "fixed", "broken", "right"][2 * first + second]


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("name", ["page", "hostile"])
def test_no_width_overflows_and_nobody_complains(browser, request, name, width):
    browser.open(request.getfixturevalue(name), width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    assert browser.evaluate("window.hacked") is None
    assert len(shown(browser)) == 20


def test_filters_hold_what_their_numbers_say(browser, page):
    browser.open(page)
    items = items_of(page)
    numbers = counts(browser)
    assert numbers["all"] == str(len(items)) == "96"
    for kind in ("fixed", "broken", "right", "wrong"):
        expected = [item["id"] for item in items if outcome(item) == kind]
        assert numbers[kind] == str(len(expected))
        browser.evaluate(f"document.querySelector('[value={kind}]').click()")
        assert shown(browser) == expected[:20]
        assert status(browser) == f"{len(expected)} of 96 items"
    unread = [item for item in items if any(reply[1] is None for reply in item["replies"])]
    assert numbers["unread"] == str(len(unread))


def test_benchmark_task_and_text_narrow_it_down(browser, page):
    browser.open(page, "#benchmark=pope&task=popular")
    expected = [item["id"] for item in items_of(page) if item["task"] == "popular"]
    assert status(browser) == f"{len(expected)} of 96 items"
    assert browser.evaluate("[...document.querySelector('[name=task]').options].map(o => o.value)") == [
        "", "random", "popular", "adversarial",
    ]  # fmt: skip
    browser.evaluate("const s = document.querySelector('[name=text]'); s.focus(); 0")
    for key in "ZZZ?":
        browser.press(key)
    assert status(browser) == "0 of 96 items"
    assert browser.evaluate("location.hash") == "#benchmark=pope&task=popular&text=ZZZ%3F"
    browser.evaluate("s.value = ''; s.dispatchEvent(new Event('input', {bubbles: true}))")
    assert status(browser) == f"{len(expected)} of 96 items"


def test_keys_walk_through_the_items_and_over_pages(browser, page):
    browser.open(page)
    focused = f"{HIDDEN}.indexOf(document.activeElement)"
    browser.press("/")
    assert browser.evaluate("document.activeElement.name") == "text"
    browser.press("j")  # typed, not obeyed
    assert browser.evaluate("document.activeElement.value") == "j"
    browser.open(page)
    ids = [item["id"] for item in items_of(page)]
    for expected in (0, 1, 2):
        browser.press("j")
        assert browser.evaluate(focused) == expected
    browser.press("ArrowDown")
    browser.press("k")
    assert browser.evaluate(focused) == 2
    for _ in range(18):
        browser.press("j")
    assert shown(browser) == ids[20:40]
    assert browser.evaluate(focused) == 0
    assert browser.evaluate("document.querySelector('.pages span').textContent") == "page 2 of 5"
    browser.press("k")
    assert browser.evaluate(focused) == 19
    assert browser.evaluate("location.hash") == f"#item=cvbench%2F{ids[19]}"
    browser.evaluate("document.querySelector('[name=on]').click()")
    assert shown(browser) == ids[20:40]


def test_tab_reaches_filters_list_and_pages(browser, page):
    browser.open(page)
    browser.evaluate("document.querySelector('[name=filter]').focus()")
    reached = []
    for _ in range(8):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.name || document.activeElement.localName"))
    assert reached[:4] == ["benchmark", "task", "text", "li"]
    outline = browser.evaluate(
        "const li = document.querySelector('.items > li'); li.focus(); getComputedStyle(li).boxShadow"
    )
    assert outline != "none"


def test_an_address_opens_the_item_it_names(browser, page):
    items = items_of(page)
    wanted = [item for item in items if outcome(item) == "fixed"][-1]
    browser.open(page, f"#filter=fixed&item={wanted['benchmark']}/{wanted['id']}")
    assert browser.evaluate("document.querySelector('[name=filter]:checked').value") == "fixed"
    title = browser.evaluate("document.activeElement.querySelector('.where').textContent")
    assert wanted["id"] in title
    assert title.endswith("fixed")
    browser.evaluate(
        "location.hash = '#filter=nonsense&benchmark=nope&item=nope/1'; new Promise(r => setTimeout(r, 50))"
    )
    assert status(browser) == "96 of 96 items"
    assert browser.complaints() == []


def test_pictures_grow_turn_over_and_close(browser, page):
    opened = "document.getElementById('viewer').open"
    browser.open(page)
    browser.press("j")
    browser.press("Enter")
    assert browser.evaluate(opened)
    question = browser.evaluate("document.querySelector('#viewer p').textContent")
    assert items_of(page)[0]["question"].split("\n")[0] in question
    browser.press("j")  # belongs to the list, which is covered
    browser.press("ArrowRight")
    assert browser.evaluate("document.querySelector('#viewer p').textContent") != question
    browser.press("Escape")
    assert not browser.evaluate(opened)
    browser.evaluate("document.querySelector('#analyses .enlarge').click()")
    assert browser.evaluate("document.querySelector('#viewer p').textContent") == "Figure 0 of pca"
    browser.evaluate("document.querySelector('#viewer .close').click()")
    assert not browser.evaluate(opened)
    assert browser.evaluate("document.activeElement.className") == "enlarge"


def test_several_models_are_compared_by_choice(browser, hostile):
    browser.open(hostile, "#benchmark=cvbench")
    first = counts(browser)
    browser.evaluate(
        "const other = document.querySelector('[name=other]'); other.value = 2;"
        "other.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    second = counts(browser)
    assert first["fixed"] == "12"
    assert second["fixed"] == "19"
    assert browser.evaluate("location.hash").startswith("#other=c&")
    text = browser.evaluate("document.querySelector('.items').textContent")
    assert "<img src=x onerror=" in text
    assert "\u27e8U+202E\u27e9evil" in text


def test_without_scripts_tables_and_figures_are_there(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        tree = json.dumps(browser.call("DOMSnapshot.captureSnapshot", computedStyles=["display"])["strings"])
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "This part of the page needs JavaScript" in tree
    assert "Figure 1 of pca" in tree


def test_dark_and_light_differ_and_both_can_be_read(browser, page):
    colours = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        style = "getComputedStyle(document.documentElement)"
        colours.append([browser.evaluate(f"{style}.{name}") for name in ("color", "backgroundColor")])
    assert colours[0] != colours[1]
    for ink, paper in colours:
        light = [sum(map(int, text[4:-1].split(","))) for text in (ink, paper)]
        assert abs(light[0] - light[1]) > 500
