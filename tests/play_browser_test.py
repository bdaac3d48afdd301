"""The page to play with, in a browser: with a server, and as one file without any.

Needs Chromium (Debian: apt-get install chromium) and the Python package playwright.
"""

import threading

import pytest
from browser_test import EVIL, browser  # noqa: F401  (a fixture)
from play_test import loaded

from unroll.playing import pages
from unroll.playing.server import server

pytestmark = pytest.mark.integration
PHONE = 390
WIDE = {"embedding": 64, "hidden": (256,), "cell": "lstm"}


@pytest.fixture
def show(browser):  # noqa: F811
  """Opens an address, at a width and in a scheme; at the end, nothing has gone wrong."""
  contexts, wrong = [], []

  def show(address, width=1280, **options):
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, **options)
    contexts.append(context)
    tab = context.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("request", lambda request: wrong.append(request.url))
    tab.goto(address)
    assert wrong == [address]
    tab.remove_listener("request", wrong.append)
    wrong.clear()
    tab.wrong = wrong
    return tab

  yield show
  for context in contexts:
    context.close()
  assert [said for said in wrong if not said.startswith("http://127.0.0.1:")] == []


@pytest.fixture
def served():
  """Serves the page of a model; its address."""
  running = []

  def served(model):
    made = server(*pages.played(model, EVIL))
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    running.append((made, thread))
    return f"http://127.0.0.1:{made.server_address[1]}/"

  yield served
  for made, thread in running:
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """The address of a page with a model inside."""
  path = tmp_path_factory.mktemp("page") / "model.html"
  path.write_text(pages.whole_page(loaded("language"), EVIL), "utf-8")
  return path.as_uri()


@pytest.fixture(params=["server", "file"])
def page(request, served, alone):
  return alone if request.param == "file" else served(loaded("language"))


def text(tab):
  return tab.locator("#text").text_content()


def play_until(tab, size):
  tab.get_by_role("button", name="Play").click()
  spans = "document.querySelectorAll('#text span').length"
  tab.wait_for_function(f"{spans} >= {size}")
  tab.get_by_role("button", name="Pause").click()
  tab.wait_for_function("document.querySelectorAll('.branches li').length > 0")


def test_a_text_goes_on_as_sampling_has_it(show, page):
  tab, own = show(page), loaded("language")
  assert tab.title() == EVIL and tab.locator("img").count() == 0
  tab.get_by_label("Prefix").fill("the fox")
  tab.get_by_label("temperature").fill("0.8")
  tab.get_by_label("top k").fill("4")
  tab.get_by_label("seed").fill("5")
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  assert text(tab) == "the fox"
  tab.get_by_role("button", name="Step", exact=True).click()
  tab.wait_for_function("document.querySelectorAll('#text span').length === 8")
  play_until(tab, 40)
  [expected] = own.generate(
    own.params, "the fox", length=300, seed=5, temperature=0.8, top_k=4
  )
  assert len(text(tab)) >= 40 and expected.startswith(text(tab))
  assert tab.locator(".bars button").count() == 4


def test_any_token_is_gone_back_to(show, page):
  tab = show(page)
  tab.get_by_label("Prefix").fill("the fox")
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  play_until(tab, 30)
  first = text(tab)
  tab.locator("#text span").nth(9).click()
  tab.wait_for_selector("#text .here[data-depth='10']")
  assert tab.locator("#text .later").count() == len(first) - 10
  own = tab.locator(".bars button code").all_inner_texts()
  token = next(one for one in own if one not in (first[10], "␣", "↵"))
  tab.locator(".bars button", has_text=token).first.click()
  tab.wait_for_function("document.querySelectorAll('#text span').length === 11")
  assert text(tab) == first[:10] + token
  assert tab.locator(".branches li").count() == 2
  tab.locator(".branches .open").first.click()
  tab.wait_for_function(
    f"document.querySelectorAll('#text span').length === {len(first)}"
  )
  assert text(tab) == first
  tab.locator("#text").focus()
  for key in ("Home", "ArrowRight", "ArrowRight"):
    tab.keyboard.press(key)
  tab.wait_for_selector("#text .here[data-depth='3']")
  assert "Token 3 of" in tab.locator("#place").inner_text()
  tab.get_by_label("forget this branch").first.click()
  tab.wait_for_function("document.querySelectorAll('.branches li').length === 1")


def test_units_change_from_token_to_token(show, page):
  tab = show(page)
  pixels = "[...document.querySelectorAll('canvas.now')].map(c => c.toDataURL())"
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  before = tab.evaluate(pixels)
  assert len(before) == 2
  tab.get_by_role("button", name="Step", exact=True).click()
  tab.wait_for_function(f"JSON.stringify({pixels}) !== {str(before)!r}")
  names = tab.locator(".strip h3").all_text_contents()
  assert names[0].startswith("layer 1 h") and names[1].startswith("gate of layer 1 h")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only_and_texts_can_be_read(show, page, scheme):
  tab = show(page, PHONE, color_scheme=scheme)
  tab.get_by_label("Prefix").fill("the fox saw a dog")
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  assert tab.evaluate("document.documentElement.scrollWidth") == PHONE
  low = tab.evaluate(CONTRAST)
  assert low == []
  # Whoever has no mouse gets everywhere.
  unnamed = tab.evaluate(
    """() => [...document.querySelectorAll("button, input, select, textarea")].filter(
      (one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"""
  )
  assert unnamed == 0


# Texts of which the contrast with what they stand on is below 4.5 (WCAG AA).
CONTRAST = """() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return [...n.slice(0, 3), n[3] ?? 1]; };
  const over = (top, below) => top.slice(0, 3).map((x, i) => x * top[3] + below[i] * (1 - top[3]));
  const ground = (one) => {
    const own = parse(getComputedStyle(one).backgroundColor);
    if (own[3] === 1 || !one.parentElement) return own.slice(0, 3);
    return over(own, ground(one.parentElement));
  };
  const light = (c) => c.map((x) => x / 255).map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const texts = [...document.querySelectorAll("body *")].filter((one) =>
    [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && one.checkVisibility() &&
    !one.closest("script, style, noscript, option"));
  return texts.flatMap((one) => {
    const [a, b] = [light(parse(getComputedStyle(one).color).slice(0, 3)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${one.tagName} ${one.className} ${one.textContent.slice(0, 20)} ${ratio}`] : [];
  });
}"""


def test_other_kinds(show, served):
  tab = show(served(loaded("classify")), PHONE)
  tab.get_by_label("Text").fill("the fox")
  tab.get_by_role("button", name="Label").click()
  tab.wait_for_selector(".bars div")
  assert sorted(tab.locator(".bars code").all_inner_texts()) == ["bad", "good", "none"]
  tab = show(served(loaded("tag")), PHONE)
  tab.get_by_label("Sentences").fill("the <b> dog")
  tab.get_by_role("button", name="Tag").click()
  tab.wait_for_selector(".words li")
  assert tab.locator(".words b").all_inner_texts() == ["the", "<b>", "dog"]
  tab = show(served(loaded("forecast")), PHONE)
  rows = "\n".join(f"{n},{-n},{n % 2}" for n in range(6))
  tab.get_by_label("Past values").fill(f"a,b,c\n{rows}")
  tab.get_by_role("button", name="Forecast").click()
  tab.wait_for_selector("svg")
  assert tab.locator("svg polyline.ahead").count() == 2
  assert tab.evaluate("document.documentElement.scrollWidth") == PHONE
  tab.get_by_label("Past values").fill("a,b,c\n1,2")
  tab.get_by_role("button", name="Forecast").click()
  tab.wait_for_function(
    "document.querySelector('.error').textContent.includes('the CSV')"
  )
  tab.wrong.clear()  # the browser writes down that the server answered 400


def test_a_layer_of_256_writes_200_tokens_a_second(show, tmp_path):
  path = tmp_path / "wide.html"
  path.write_text(pages.whole_page(loaded("language", **WIDE), "wide"), "utf-8")
  tab = show(path.as_uri())
  tab.get_by_role("button", name="Play").click()
  count = "document.querySelectorAll('#text span').length"
  tab.wait_for_function(f"{count} > 50")
  before = tab.evaluate(f"[performance.now(), {count}]")
  tab.wait_for_timeout(2000)
  after = tab.evaluate(f"[performance.now(), {count}]")
  rate = 1000 * (after[1] - before[1]) / (after[0] - before[0])
  print(f"{rate:.0f} tokens a second")
  assert rate >= 200
