"""The page to play with, in a browser: with a server, and as one file without any.

Needs Chromium (Debian: apt-get install chromium) and the Python package playwright.
"""

import threading
import time

import numpy as np
import pytest
from browser_test import EVIL, browser  # noqa: F401  (a fixture)
from play_test import loaded

from unroll.playing import pages
from unroll.playing.server import server

pytestmark = pytest.mark.integration
PHONE = 390
SPANS = "document.querySelectorAll('#text span').length"
WIDE = {"embedding": 64, "hidden": (256,), "cell": "lstm"}


@pytest.fixture
def show(browser):  # noqa: F811
  """Opens an address, at a width and in a scheme; nothing goes wrong meanwhile."""
  contexts, wrong = [], []

  def show(address, width=1280, **options):
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, **options)
    contexts.append(context)
    tab = context.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("request", lambda request: asked(request.url, address))
    tab.goto(address)
    return tab

  def asked(url, address):
    if not url.startswith(address):
      wrong.append(url)

  yield show
  for context in contexts:
    context.close()
  # A browser writes down that a server answered 400, which the page tells too.
  assert [said for said in wrong if "status of 400" not in said] == []


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


def until(condition):
  """Waits for what comes; the page's own rules forbid scripts that are strings."""
  end = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.02)


def count(tab):
  return tab.evaluate(SPANS)


def text(tab):
  return tab.locator("#text").text_content()


def play_until(tab, size):
  tab.get_by_role("button", name="Play").click()
  until(lambda: count(tab) >= size)
  tab.get_by_role("button", name="Pause").click()
  until(lambda: tab.locator(".branches li").count() > 0)


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
  until(lambda: count(tab) == 8)
  play_until(tab, 40)
  [expected] = own.generate(
    own.params, "the fox", length=300, seed=5, temperature=0.8, top_k=4
  )
  found = text(tab)[: len(expected)]
  assert len(found) >= 40 and expected.startswith(found)
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
  until(lambda: count(tab) == 11)
  assert text(tab) == first[:10] + token
  assert tab.locator(".branches li").count() == 2
  tab.locator(".branches .open").first.click()
  until(lambda: count(tab) == len(first))
  assert text(tab) == first
  tab.locator("#text span").nth(2).click()  # within the prefix
  until(lambda: "Token 3 of" in tab.locator("#place").inner_text())
  model = loaded("language")
  chances = model.predict(model.params, ["the"])[0]
  chances[model.vocabulary.unknown] = 0
  best = model.vocabulary.tokens[int(np.argmax(chances))]
  seen = best.replace("\n", "↵").replace(" ", "␣")
  assert tab.locator(".bars code").first.inner_text() == seen
  tab.locator("#text").focus()
  for key in ("Home", "ArrowRight", "ArrowRight"):
    tab.keyboard.press(key)
  tab.wait_for_selector("#text .here[data-depth='3']")
  assert "Token 3 of" in tab.locator("#place").inner_text()
  tab.get_by_label("forget this branch").first.click()
  until(lambda: tab.locator(".branches li").count() == 1)


def test_units_change_from_token_to_token(show, page):
  tab = show(page)
  pixels = "[...document.querySelectorAll('canvas.now')].map(c => c.toDataURL())"
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  before = tab.evaluate(pixels)
  assert len(before) == 2
  tab.get_by_role("button", name="Step", exact=True).click()
  until(lambda: tab.evaluate(pixels) != before)
  names = tab.locator(".strip h3").all_text_contents()
  assert names[0].startswith("layer 1 h") and names[1].startswith("gate of layer 1 h")


def test_a_phone_scrolls_down_only(show, page):
  tab = show(page, PHONE)
  tab.get_by_label("Prefix").fill("the fox saw a dog")
  tab.get_by_role("button", name="Read").click()
  tab.wait_for_selector(".bars button")
  assert tab.evaluate("document.documentElement.scrollWidth") == PHONE


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
  until(lambda: "the CSV" in tab.locator(".error").inner_text())


@pytest.mark.parametrize("least", [200, 20], ids=["file", "server"])
def test_how_fast_a_layer_of_256_writes(show, served, tmp_path, least):
  model, path = loaded("language", **WIDE), tmp_path / "wide.html"
  if least == 200:
    path.write_text(pages.whole_page(model, "wide"), "utf-8")
  tab = show(path.as_uri() if path.exists() else served(model))
  tab.get_by_role("button", name="Play").click()
  until(lambda: count(tab) > 50)
  before = tab.evaluate(f"[performance.now(), {SPANS}]")
  tab.wait_for_timeout(2000)
  after = tab.evaluate(f"[performance.now(), {SPANS}]")
  rate = 1000 * (after[1] - before[1]) / (after[0] - before[0])
  print(f"{rate:.0f} tokens a second")
  assert rate >= least
