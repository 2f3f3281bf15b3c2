# SPDX-License-Identifier: Apache-2.0
"""report.html in a real browser: a headless Chromium, found by its path and driven by playwright.

Times are the page's own processor time, because a busy machine makes every clock wrong.
"""

from __future__ import annotations

import json
import shutil
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from made_up_run import HOSTILE, write_made_up

from recipe.tw_grpo.report import follow, html
from recipe.tw_grpo.scoring.__main__ import main as scoring

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no chromium: no browser test", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = write_made_up(tmp_path_factory.mktemp("made_up") / "run", videos=2)
    html.write_page([html.read_for_page(out)], out / "report.html")
    return out


class Opened:
    """A page with everything it said and asked for."""

    def __init__(self, browser, address: str, **options) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1300, "height": 900}} | options))
        self.page = self.context.new_page()
        self.said, self.requests = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.performance = self.context.new_cdp_session(self.page)
        self.performance.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(address)
        self.page.wait_for_selector("h1")

    def seconds(self) -> float:
        """Processor seconds of the page's main thread."""
        metrics = self.performance.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait for a condition in JavaScript; playwright's own way is an eval, which the page's policy forbids."""
        for _ in range(int(20 * seconds)):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{condition} did not come true in {seconds} s")

    def view(self, name: str) -> None:
        self.page.click(f"#tab-{name}")
        if name == "samples":
            self.page.wait_for_selector(".response")


@pytest.fixture
def opened(browser, run):
    """Opens the run's page, or another address; nothing may be said on the console or fetched from elsewhere."""
    pages = []

    def open_page(address: str | None = None, **options) -> Opened:
        pages.append(Opened(browser, address or f"file://{run}/report.html", **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()
        assert page.said == []
        assert all(url.startswith(("file://", "data:", f"http://{follow.ADDRESS}:")) for url in page.requests)


def test_it_opens_at_once_with_its_curves_drawn(opened):
    page = opened()
    page.until("document.querySelectorAll('.chart:not(:has(.u-wrap))').length === 0")
    assert page.seconds() < 2
    drawn = page.page.evaluate(
        """() => [...document.querySelectorAll(".chart canvas")].map((canvas) => {
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return new Set(new Uint32Array(pixels.buffer)).size; })"""
    )
    assert len(drawn) >= 14 and min(drawn) > 3
    labels = page.page.eval_on_selector_all(".chart", "all => all.map((chart) => chart.getAttribute('aria-label'))")
    assert any(label.startswith("Chart: Reward of a response. mean: first") for label in labels)
    assert [url for url in page.requests if not url.startswith("data:")] == [page.page.url]


def test_a_filter_a_sample_and_the_numbers_of_a_token(opened, run):
    page = opened()
    page.view("samples")
    assert "18 of 18 groups match" in page.page.inner_text("#samples [role=status]")
    page.page.select_option("[name=dead]", "1")
    page.page.fill("[name=to] >> nth=0", "1")
    page.until("document.querySelectorAll('.list li').length < 18")
    assert page.page.locator(".list li").count() == 1 and "Step 1, prompt 2" in page.page.inner_text(".group")
    page.page.click("button[type=reset]")
    page.until("document.querySelectorAll('.list li').length === 18")
    page.page.click(".list li:nth-child(5) button")
    page.until("document.querySelector('.group h2').textContent === 'Step 2, prompt 2'")
    lines = [json.loads(line) for line in (run / "rollouts/2.jsonl").read_text().splitlines()]
    line = next(line for line in lines if line["uid"].startswith("2x1_2"))
    page.page.hover("[data-response='2'] [data-t='20']")
    tip = page.page.inner_text(".tip")
    assert tip.startswith("t 20 ")
    assert float(tip.split("D_t ")[1].split()[0]) == pytest.approx(line["token_divergence"][20], abs=6e-4)
    assert float(tip.split("w_t ")[1]) == pytest.approx(line["token_weights"][20], abs=6e-4)
    assert page.page.locator(".strip img").evaluate("image => image.complete && image.naturalWidth") == 4 * 194 - 2
    assert page.page.locator(".options .right").count() == line["gts"].count(",") + 1


def test_keys_choose_groups_and_tokens(opened):
    page = opened()
    page.view("samples")
    for key, step in (("j", "Step 1, prompt 2"), ("j", "Step 1, prompt 3"), ("k", "Step 1, prompt 2")):
        page.page.keyboard.press(key)
        page.until(f"document.querySelector('.group h2').textContent === '{step}'")
    page.page.focus("[data-response='1']")
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    assert page.page.inner_text(".tip").startswith("t 2 ")
    page.page.keyboard.press("Escape")
    assert page.page.locator(".tip").is_hidden()
    page.page.focus("[name=text]")
    page.page.keyboard.type("jk")
    assert page.page.input_value("[name=text]") == "jk"  # a letter in a field is a letter


def test_text_is_searched_in_the_responses(opened):
    page = opened()
    page.view("samples")
    page.page.fill("[name=text]", "onerror='window")
    page.until("document.querySelector('#samples [role=status]').textContent.startsWith('1 of 18')")


def test_what_a_model_says_is_text_and_does_nothing(opened):
    page = opened()
    page.view("samples")
    said = page.page.eval_on_selector_all("[data-response]", "all => all.map((p) => p.textContent)")
    assert HOSTILE["script"] in said[0] and HOSTILE["emoji"] in said[2]
    assert "abc ⟨U+202E⟩desrever⟨U+202C⟩ ⟨U+200F⟩" in said[1] and "\u202e" not in said[1]
    assert page.page.evaluate("window.hurt") is None and page.page.locator("[data-response] :not(.t)").count() == 0
    # A text that reached the markup by a mistake would still not run: the policy forbids it.
    page.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.hurt = 3\">')")
    page.page.wait_for_timeout(200)
    assert page.page.evaluate("window.hurt") is None
    assert all("Content Security Policy" in text for text in page.said)
    page.said.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1300])
def test_it_fits_a_narrow_window_and_reads_well_in_both_themes(opened, theme, width):
    page = opened(viewport={"width": width, "height": 800}, color_scheme=theme)
    for view in ("curves", "samples", "settings"):
        page.view(view)
        assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
    page.view("samples")
    contrasts = page.page.evaluate(CONTRASTS)
    assert contrasts and min(contrasts.values()) >= 4.5, min(contrasts.items(), key=lambda item: item[1])


# The least contrast (WCAG) of each kind of element that holds text, over the colours it really stands on.
CONTRASTS = """() => {
  const parsed = (css) => { const n = css.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const over = (top, ground) => [0, 1, 2].map((i) => top[i] * top[3] + ground[i] * (1 - top[3]));
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (element) => { const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parsed(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]); };
  const least = {};
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !element.offsetParent) continue;
    if (["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const [a, b] = [light(over(parsed(getComputedStyle(element).color), ground(element))), light(ground(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), name = `${element.tagName}.${element.className}`;
    least[name] = Math.min(least[name] ?? 99, ratio);
  }
  return least; }"""


def test_a_new_step_appears_without_a_reload(opened, tmp_path):
    out = write_made_up(tmp_path / "run", steps=2)
    live = follow.Live([out])
    live.refresh()
    server = ThreadingHTTPServer((follow.ADDRESS, 0), type("Handler", (follow.Handler,), {"live": live}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = opened(f"http://{follow.ADDRESS}:{server.server_port}/")
    page.until("document.querySelector('h1').textContent.includes('step 2 of 4')")
    page.view("samples")
    page.page.fill("[name=from]", "2")
    page.until("document.querySelectorAll('.list li').length === 3")
    page.page.evaluate("window.same = true")
    write_made_up(out, steps=3, first=3)
    assert live.refresh()
    page.until("document.querySelector('h1').textContent.includes('step 3 of 5')")
    page.until("document.querySelectorAll('.list li').length === 6")  # the filter stays
    assert page.page.evaluate("window.same") and page.page.input_value("[name=from]") == "2"
    server.shutdown()
    server.server_close()
    page.until("document.querySelector('header [role=status]').textContent.includes('not answer')")
    page.said.clear()  # the browser reports that the server is gone


def test_several_runs_are_laid_over_each_other(opened, tmp_path):
    runs = [write_made_up(tmp_path / f"seed{seed}", steps=4, seed=seed) for seed in (0, 1)]
    other = write_made_up(tmp_path / "other", steps=4, seed=0)
    record = json.loads((other / "run.json").read_text())
    record["command"] = record["command"].replace("alpha=0.7", "alpha=0.3")
    (other / "run.json").write_text(json.dumps(record))
    html.write_page([html.read_for_page(folder, 3) for folder in [*runs, other]], tmp_path / "compare.html")
    page = opened(f"file://{tmp_path}/compare.html")
    page.page.wait_for_selector(".u-wrap")
    legend = page.page.inner_text(".card:nth-child(1) .u-legend")
    assert "tw_grpo, 2 seeds (seed0, seed1): mean" in legend and "other: mean" in legend
    page.view("settings")
    different = page.page.inner_text(".different")
    assert "algorithm.tw_grpo.alpha" in different and "data.max_response_length" not in different
    page.view("samples")
    page.page.select_option("[name=run]", "2")
    page.page.wait_for_selector(".response")


def test_two_logs_question_by_question(opened, tmp_path):
    logs = []
    for name, answers in (("a", "AABB"), ("b", "ABBA")):
        prompt = "user\nQuestion {n}?\nA. it moves\nB. it stops\nPlease answer.\nassistant\n"
        lines = [
            {"input": prompt.format(n=n), "output": HOSTILE["script"] + f"<answer>{answer}</answer>", "gts": "A",
             "score": float(answer == "A"), "uid": f"u{n}_0_0", "index": n} for n, answer in enumerate(answers)
        ]  # fmt: skip
        logs.append(tmp_path / f"{name}.jsonl")
        logs[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    scoring(["compare", *map(str, logs), "--html", str(tmp_path / "page.html")])
    page = opened(f"file://{tmp_path}/page.html", viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.page.wait_for_selector(".two")
    assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert min(page.page.evaluate(CONTRASTS).values()) >= 4.5
    for change, questions in (
        ("gained", ["Question 3?"]),
        ("lost", ["Question 1?"]),
        ("same", ["Question 0?", "Question 2?"]),
    ):
        page.page.select_option("[name=change]", change)
        assert page.page.eval_on_selector_all(".asked", "all => all.map((e) => e.textContent)") == questions
    page.page.keyboard.press("Tab")
    page.page.fill("[name=text]", "question 2")
    page.until("document.querySelectorAll('.list li').length === 1")
    assert page.page.inner_text(".question") == "Question 2?\n… Please answer."
    assert (
        HOSTILE["script"] in page.page.inner_text(".two .said >> nth=0") and page.page.evaluate("window.hurt") is None
    )


@pytest.mark.slow
def test_a_run_of_500_steps_fits_and_scrolls(opened, tmp_path):
    """500 steps of 64 responses of 400 tokens: below 20 MB, and no task of the page above 200 ms of processor time."""
    import resource
    import time

    out = write_made_up(tmp_path / "run", steps=500, prompts=8, responses=8, tokens=400, videos=300)
    start = time.process_time()
    html.write_page([html.read_for_page(out)], out / "report.html")
    assert time.process_time() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2e6  # kB
    assert (out / "report.html").stat().st_size < 20e6
    page = opened(f"file://{out}/report.html")
    page.view("samples")
    before, longest = page.seconds(), 0.0
    for _ in range(40):
        page.page.mouse.wheel(0, 300)
        page.page.keyboard.press("j")
        page.page.wait_for_timeout(50)
        now = page.seconds()
        longest, before = max(longest, now - before), now
    assert longest < 0.2
