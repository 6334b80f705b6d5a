"""The console's page by itself: what it shows of what a router says, by pointer, by keyboard, small and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from .conftest import OpenPage
from .fake_router import CHEAP, DEAR, FAN_OUT_TRACE, RANK, TRACE, FakeRouter, part, record

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]


@pytest_asyncio.fixture(loop_scope="package")
async def router() -> AsyncIterator[FakeRouter]:
    router = FakeRouter()
    await router.start()
    yield router
    await router.close()


async def words_of(row: Locator) -> str:
    """As it reads, with dashes that are on every keyboard."""
    return " ".join((await row.inner_text()).split()).replace("\N{EN DASH}", "-")


async def focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.innerText"))


async def test_attainment_comes_first_with_a_sign_and_a_word(router: FakeRouter, open_page: OpenPage) -> None:
    """Colour is never the only sign; what was not asked is no 100 %."""
    page = await open_page(router.url)
    row = page.get_by_role("row", name="Recsys/Rank").first
    assert (await words_of(row)).startswith(
        "Recsys/Rank ✕ 99.00 % , below target ✕ 99.00 % , below target 99.9 % 15.0 ms"
    )
    assert (await words_of(row)).endswith("20/s 12 of 1,200")
    assert "no requests" in await words_of(page.get_by_role("row", name="Llm/Generate").first)
    assert await page.title() == "✕ Recsys/Rank · shop · Isochrone"
    router.part = part(met=100, missed=0)
    await page.get_by_role("row", name="Recsys/Rank 100 % , on target").first.wait_for()


async def test_a_panel_has_chart_stages_and_blame_and_says_them_in_tables(
    router: FakeRouter, open_page: OpenPage
) -> None:
    """A chart is a picture to those who see it; its figures are there for everybody."""
    page = await open_page(router.url)
    panel = page.get_by_role("article", name="Recsys/Rank")
    assert await panel.locator("canvas").is_visible()
    stages = panel.get_by_role("table", name="mean time by stage")
    means, blamed = stages.locator("tbody tr").nth(0), stages.locator("tbody tr").nth(1)
    assert await words_of(means) == "mean ms 0.20 1.50 0.90 2.10 0.40 0.10"
    assert await words_of(blamed) == "blamed - 12 - - - -"
    await page.get_by_label("now", exact=True).check()
    assert await words_of(blamed) == "blamed - 3 - - - -"
    await panel.get_by_text("Minute by minute").click()
    minute = panel.get_by_role("table", name="by the minute").locator("tbody tr").first
    assert "99.00 % 1,200" in await words_of(minute)


async def test_a_panel_says_where_requests_were_sent_and_what_came_of_that(
    router: FakeRouter, open_page: OpenPage
) -> None:
    """Each lane with the reasons it was chosen for, what was foretold and what came; and who was refused."""
    page = await open_page(router.url)
    panel = page.get_by_role("article", name="Recsys/Rank")
    rows = panel.get_by_role("table", name="where requests were sent").locator("tbody tr")
    assert [await words_of(row) for row in await rows.all()] == [
        "ranker.fp32@cpu 80.0 % the cheapest in time · 20.0 % planned late "
        "66.6 % 6.40 → 6.40 90.0 % 0.0025 3.10 to 6.02",
        "ranker.fp32@cuda the cheapest in time 33.3 % - - 0.03 1.20 to 1.90",
    ]
    note = await words_of(panel.locator(".decisions .note"))
    assert note == (
        "1,000 answers in time cost 0.0325. Refused: overload 3,564. Answered by fallbacks: last good 2,376."
    )
    assert not await page.get_by_role("article", name="Router/FanOut").locator(".decisions").is_visible()
    assert "12 sent again, 9 of them hedges, of which 7 won, 2 denied" in await page.locator("#processes").inner_text()


async def test_what_nobody_knows_yet_is_no_zero(router: FakeRouter, open_page: OpenPage) -> None:
    """A lane that foretells nothing before its first answers; a route of which nothing was answered; a part so small
    that it would be rounded away."""
    router.part["outlooks"] = {RANK: {CHEAP: [0.0, 0.0, None]}}
    for span in (router.part["now"], router.part["window"]):
        requests, met, _, stage_us, blamed = span["routes"][RANK]
        span["routes"][RANK] = [requests, met, [], [0 for _ in stage_us], blamed]
        span["decisions"] = [
            [RANK, "plan", CHEAP, "cheapest", 2, 0, 0, 0.0, 0.0, 0.0],
            [RANK, "plan", DEAR, "cheapest", 5000, 0, 0, 0.0, 0.0, 4e-7],
        ]
    page = await open_page(router.url)
    panel = page.get_by_role("article", name="Recsys/Rank")
    assert await panel.get_by_role("heading", level=4).first.inner_text() == "None was answered, 15 min"
    assert await words_of(panel.locator(".stages tbody tr").first) == "mean ms - - - - - -"
    rows = panel.get_by_role("table", name="where requests were sent").locator("tbody tr")
    assert [await words_of(row) for row in await rows.all()] == [
        "ranker.fp32@cpu the cheapest in time < 0.1 % - - 0 not known yet",
        "ranker.fp32@cuda the cheapest in time 99.96 % - - 0.000000337 no node",
    ]


async def test_callers_are_shown_with_their_quotas(router: FakeRouter, open_page: OpenPage) -> None:
    """Where some are configured."""
    page = await open_page(router.url)
    rows = page.get_by_role("table", name="Callers").locator("tbody tr")
    assert [await words_of(row) for row in await rows.all()] == [
        "shop gold, standard; standard where it asks for none "
        "97/s 96.5 of 100/s nearly used up 3 of 40 at once 12 quota",
        "mail batch 2.0/s no limit no limit -",
    ]
    router.part = router.part | {"callers": []}
    await page.get_by_role("heading", name="Callers").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("changes", "title", "facts"),
    [
        (
            {"decision": {"why": "late", "expected_ms": 20.0, "within_ms": 24.0, "target": 0.999, "cost": 4.2e-7}},
            "Recsys/Rank: missed",
            ["planned late, expected 20.0 ms, 99.9 % within 24.0 ms", "0.00042", "shop"],
        ),
        (
            {"decision": {"why": "OVERLOAD", "expected_ms": 23.0, "retry_after_ms": 8.0}, "attempts": 0}
            | {"verdict": "failed", "code": "RESOURCE_EXHAUSTED", "reason": "OVERLOAD", "batch": None, "node": ""},
            "Recsys/Rank: failed, OVERLOAD",
            ["overload, expected 23.0 ms, come back in 8.00 ms"],
        ),
        (
            {"fallback": {"source": "last_good", "route": "", "age_ms": 12_000, "reason": "OVERLOAD"}}
            | {"verdict": "fallback", "reason": "OVERLOAD"},
            "Recsys/Rank: answered by a fallback",
            ["the last good answer, 12 s old, because of overload"],
        ),
        ({"attempts": 2, "won": 2}, "Recsys/Rank: missed", ["2, number 2 answered"]),
    ],
)
async def test_a_waterfall_says_what_was_decided(
    router: FakeRouter, open_page: OpenPage, changes: dict[str, Any], title: str, facts: list[str]
) -> None:
    """What was planned and expected, why it was refused and when to come back, who answered, and what it cost."""
    router.misses = [record(**changes)]
    page = await open_page(router.url)
    await page.locator("#misses").get_by_role("button").click()
    dialog = page.get_by_role("dialog", name=title)
    for fact in facts:
        await dialog.get_by_text(fact, exact=True).wait_for()


async def test_lanes_and_nodes_say_what_is_wrong(router: FakeRouter, open_page: OpenPage) -> None:
    """In words."""
    router.missing = [{"name": "router-1", "why": "it can't be reached"}]
    page = await open_page(router.url)
    lanes, nodes = page.get_by_role("table", name="Lanes"), page.get_by_role("table", name="Nodes")
    ranker = await words_of(lanes.get_by_role("row", name="ranker.fp32@cpu"))
    assert "3 jobs, 4.50 ms of work" in ranker
    assert "4.0 jobs, 400 rows" in ranker
    assert "over the links ✕ none" in await words_of(lanes.get_by_role("row", name="blurb.fp32@cpu"))
    well = await words_of(nodes.get_by_role("row", name="recsys-0"))
    assert "✓ linked cpu ranker.fp32 0.12 ms + 7.9 µs per row ± 20 % 3.00 ms → 3.30 ms 1.1" in well
    assert "40 jobs 3 dropped, 2.5 % of its time wasted" in well
    assert "stands back" not in well
    assert "stands back: others are quicker" in await words_of(nodes.get_by_role("row", name="recsys-1"))
    assert "! silent" in await words_of(nodes.get_by_role("row", name="recsys-1"))
    assert "✕ router-1 is missing here: it can't be reached" in await page.locator("#processes").inner_text()


async def test_a_click_anywhere_on_a_miss_opens_its_waterfall(router: FakeRouter, open_page: OpenPage) -> None:
    """Each stage with its time, and the one to blame."""
    page = await open_page(router.url)
    await page.get_by_role("row", name="Recsys/Rank missed").click(position={"x": 900, "y": 10})
    dialog = page.get_by_role("dialog", name="Recsys/Rank: missed, 21.3 ms of 15.0 ms")
    rows = dialog.get_by_role("table", name="Stages of Recsys/Rank").locator("tbody tr")
    assert [await words_of(row) for row in await rows.all()] == [
        "admit 0.20 ms 1 %",
        "queue to blame 12.1 ms 57 %",
        "batch wait 2.00 ms 9 %",
        "compute 5.00 ms 23 %",
        "link 1.50 ms 7 %",
        "answer 0.50 ms 2 %",
    ]
    bars = [await row.locator(".segment").bounding_box() for row in await rows.all()]
    ends = [box["x"] + box["width"] for box in bars if box]
    assert all(box["x"] == pytest.approx(end, abs=3) for box, end in zip(bars[1:], ends, strict=False) if box)
    assert await dialog.get_by_text("6.30 ms over the objective of 15.0 ms").is_visible()
    assert await dialog.get_by_text("3 jobs, 90 units, 30 of them its own; no more fitted").is_visible()
    await dialog.get_by_role("button", name="Close").click()
    await dialog.wait_for(state="hidden")


async def test_by_keyboard_focus_goes_into_the_waterfall_and_back(router: FakeRouter, open_page: OpenPage) -> None:
    """Enter opens it, Escape closes it, and one is where one was; also while the page goes on."""
    page = await open_page(router.url)
    await page.get_by_label("Trace id").focus()
    await page.keyboard.press("Tab")  # the form's button
    await page.keyboard.press("Tab")  # the first miss
    await page.keyboard.press("Tab")
    opener = await focused(page)
    assert "Recsys/Rank missed, 21.3 ms of 15.0 ms. Show its waterfall" in " ".join(opener.split())
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").wait_for()
    assert " ".join((await focused(page)).split()) == "Recsys/Rank: missed, 21.3 ms of 15.0 ms"
    await page.keyboard.press("Escape")
    await page.wait_for_function("told => document.activeElement.innerText === told", arg=opener)
    router.misses = [record(trace_id="f" * 32, at="2026-11-23T02:00:02.000Z"), *router.misses]
    router.part = part(met=98, missed=2)
    await page.locator("#misses tbody tr").nth(2).wait_for()
    assert await focused(page) == opener


async def test_a_fan_out_shows_its_legs_and_what_was_given_up(router: FakeRouter, open_page: OpenPage) -> None:
    """On one scale, each with its own stages; the late one is open."""
    page = await open_page(router.url)
    await page.get_by_role("button", name="Router/FanOut missed").click()
    dialog = page.get_by_role("dialog", name="Router/FanOut")
    legs = dialog.get_by_role("table", name="Legs of the fan-out").locator("tbody tr")
    assert [await words_of(leg) for leg in await legs.all()] == ["shelf 8.00 ms met", "also 23.0 ms missed"]
    assert await dialog.get_by_text("recsys-1, after 12.0 ms: its node is gone").is_visible()
    assert await dialog.get_by_role("link", name="open in Jaeger").get_attribute("href") == (
        f"http://127.0.0.1:16686/trace/{FAN_OUT_TRACE}"
    )


async def test_a_request_is_found_by_its_trace_id(router: FakeRouter, open_page: OpenPage) -> None:
    """And it is said when it isn't."""
    page = await open_page(router.url)
    field, error = page.get_by_label("Trace id"), page.get_by_role("alert")
    for given, told in (("xyz", "A trace id has 32 hexadecimal digits."), ("0" * 32, "Nothing is kept of it.")):
        await field.fill(given)
        await page.keyboard.press("Enter")
        await error.get_by_text(told).wait_for()
    await field.fill(TRACE.upper())
    await page.get_by_role("button", name="Find").click()
    await page.get_by_role("dialog", name="Recsys/Rank: missed").wait_for()
    await page.keyboard.press("Escape")
    await page.wait_for_function("() => document.activeElement.id === 'trace'")


async def test_a_router_that_goes_away_is_said_to_be_away_until_it_is_back(
    router: FakeRouter, open_page: OpenPage
) -> None:
    """What is shown stays, marked as old; a new life of it begins with its own figures."""
    page = await open_page(router.url)
    await page.locator("#state", has_text="Live").wait_for()
    await router.close()
    await page.locator("#state", has_text="No answer since").wait_for()
    assert "does not answer" in await page.get_by_role("status").inner_text()
    assert "12 of 1,200" in await words_of(page.get_by_role("row", name="Recsys/Rank").first)
    router.boot, router.part = "b1", part(met=10, missed=0, steps=2)
    await router.start()
    await page.locator("#state", has_text="Live").wait_for()
    assert (await words_of(page.get_by_role("row", name="Recsys/Rank").first)).endswith("0 of 20")
    assert "answers again" in await page.get_by_role("status").inner_text()


async def test_it_fits_any_width(router: FakeRouter, open_page: OpenPage) -> None:
    """No sideways scrolling, with a waterfall open as well."""
    page = await open_page(router.url, width=1100)
    await page.get_by_role("button", name="Router/FanOut missed").wait_for()
    for width in (1100, 900, 768, 600, 390, 360):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate(OVERFLOW, "html") == 0, width
    await page.get_by_role("button", name="Router/FanOut missed").click()
    for width in (360, 390, 768):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate(OVERFLOW, "html") == 0, width
        assert await page.evaluate(OVERFLOW, "dialog") == 0, width


OVERFLOW = "it => document.querySelector(it).scrollWidth - document.querySelector(it).clientWidth"


async def test_it_is_legible_by_day_and_by_night(router: FakeRouter, open_page: OpenPage) -> None:
    """Text stands out by 4.5 : 1 (WCAG AA), in the light and in the dark, as the reader's system has it."""
    page = await open_page(router.url)
    texts, stages = ("text", "quiet", "link", "good", "bad"), ("admit", "queue", "batch_wait", "compute", "link-stage")
    pairs = [(text, ground) for ground in ("ground", "card") for text in texts]
    pairs += [("on-stage", stage) for stage in (*stages, "answer")]
    grounds = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        contrasts = await page.evaluate(CONTRASTS, pairs)
        assert {pair: got for pair, got in zip(pairs, contrasts, strict=True) if got < 4.5} == {}
        grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 247, 248)", "rgb(15, 21, 25)"]


CONTRASTS = """pairs => {
  const style = getComputedStyle(document.documentElement);
  const light = name => {
    const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return pairs.map(names => {
    const [a, b] = names.map(light).sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  });
}"""


async def test_tables_stay_tables_to_a_screen_reader(router: FakeRouter, open_page: OpenPage) -> None:
    """On a phone, where rows look like cards; and everything that can be operated has a name."""
    page = await open_page(router.url, width=390)
    await page.get_by_role("button", name="Router/FanOut missed").wait_for()
    for name in ("Routes", "Last misses", "Lanes", "Nodes"):
        table = page.get_by_role("table", name=name)
        assert await table.get_by_role("columnheader").count() >= 6
        rows = await table.get_by_role("rowheader").count()
        assert rows == await table.locator("tbody tr").count() >= 2
    named = "all => all.map(it => (it.innerText || it.labels?.[0]?.innerText || '').trim())"
    assert all(await page.locator("button, input, a, summary").evaluate_all(named))
    assert await page.locator("[aria-live]").count() == 1
    assert RANK in str(await page.get_by_role("link", name="Recsys/Rank").get_attribute("title"))
