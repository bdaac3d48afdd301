"""The page of a sweep, opened in a browser: no script error, and every picture drawn.

Needs Chromium (Debian: apt-get install chromium) and the Python package playwright.
"""

import json
import shutil

import numpy as np
import pytest

from launch import page
from tests import sweep_folder

pytestmark = pytest.mark.integration
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# No sandbox: containers seldom allow one; and no word to anybody.
ARGUMENTS = (
  *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
  *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
)
PICTURES = ("curves", "parallel", "importance", "search", "heat", "tradeoff")
EVIL = "</script><img src=x onerror=document.title='run'>"


@pytest.fixture(scope="module")
def browser():
  playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs the Python package playwright"
  )
  if CHROMIUM is None:
    pytest.skip("needs chromium on the PATH")
  with playwright.sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sweeps")
  empty = folder / "empty"
  empty.mkdir()
  (empty / "trials.json").write_text('{"trials": []}')
  made = {
    "grid": sweep_folder.grid(folder / "grid", steps=200),
    "random": sweep_folder.drawn(folder / "random", 200, steps=100),
    "empty": empty,
  }
  return {name: page.write(sweep) for name, sweep in made.items()}


@pytest.fixture
def show(browser):
  """Opens a page, at a width and in a scheme; at the end, nothing has gone wrong."""
  contexts, wrong = [], []

  def show(path, width=1280, **options):
    size = {"width": width, "height": 800}
    context = browser.new_context(viewport=size, **options)
    contexts.append(context)
    tab = context.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("request", lambda request: wrong.append(request.url))
    tab.goto(path.as_uri())
    assert wrong == [path.as_uri()]  # the page itself, and nothing else was fetched
    wrong.clear()
    return tab

  yield show
  for context in contexts:
    context.close()
  assert wrong == []


def column(tab, title):
  """The texts of a column of the leaderboard, from the top."""
  return tab.evaluate(
    """title => {
      const heads = [...document.querySelectorAll("#leaderboard th")];
      const i = heads.findIndex((head) => head.textContent.startsWith(title));
      const rows = [...document.querySelectorAll("#leaderboard tbody tr")];
      return rows.map((row) => row.cells[i].textContent);
    }""",
    title,
  )


def marks(tab, section):
  """How many shapes of a picture have an extent, and are within its section."""
  return tab.evaluate(
    """section => {
      const outer = document.getElementById(section).getBoundingClientRect();
      const marks = `#${section} svg :is(path, rect, circle)`;
      const boxes = [...document.querySelectorAll(marks)].map((mark) =>
        mark.getBoundingClientRect());
      return boxes.filter((box) =>
        box.width + box.height > 2 && box.left >= outer.left - 1 &&
        box.right <= outer.right + 1 && box.bottom <= outer.bottom + 1).length;
    }""",
    section,
  )


@pytest.mark.parametrize("name", ["grid", "random"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_seen(show, sweeps, name, width, scheme):
  tab = show(sweeps[name], width, color_scheme=scheme)
  for section in PICTURES:
    box = tab.locator(f"#{section} .stack").bounding_box()
    assert box["width"] > 200 and box["height"] > 60, section
    assert marks(tab, section) >= 3, section
  assert tab.locator("#samples pre").count() == 6


def test_the_leaderboard_compares_trials_at_equal_time(show, sweeps):
  tab = show(sweeps["grid"])
  data = tab.evaluate("DATA")
  curves = data["curves"][data["objectives"][0]]
  complete = [str(t["slot"]) for t in data["trials"] if t["state"] == "complete"]
  first = min(curves[slot][1][-1] for slot in complete)
  tab.locator("#leaderboard").get_by_text("show all").click()
  shown = dict(zip(column(tab, "trial"), column(tab, "after")))
  shown = {slot.strip("★ "): value for slot, value in shown.items()}
  assert len(complete) > 20
  for slot in complete:
    _, seconds, mean, *_ = curves[slot]
    if seconds[0] > first:  # it had not been evaluated yet
      assert shown[slot] == "\u2013"
      continue
    assert float(shown[slot]) == pytest.approx(np.interp(first, seconds, mean), 1e-3)


@pytest.mark.parametrize("name", ["grid", "random", "empty"])
def test_a_phone_scrolls_down_only(show, sweeps, name):
  tab = show(sweeps[name], 360)
  assert tab.evaluate("document.documentElement.scrollWidth") == 360


def test_labels_of_an_axis_do_not_overlap(show, sweeps):
  for name, width in (("grid", 360), ("random", 360), ("grid", 1280), ("random", 1280)):
    tab = show(sweeps[name], width)
    overlaps = tab.evaluate(
      """() => [...document.querySelectorAll(".stack svg")].flatMap((svg) => {
        const texts = [...svg.querySelectorAll("text:not([transform])")];
        const boxes = texts.map((text) =>
          [text.textContent, text.getBoundingClientRect()]);
        return boxes.flatMap(([a, one], i) => boxes.slice(i + 1).filter(([b, two]) =>
          one.left < two.right - 1 && two.left < one.right - 1 &&
          one.top + 3 < two.bottom - 3 && two.top + 3 < one.bottom - 3)
          .map(([b]) => `${a} | ${b}`));
      })"""
    )
    assert overlaps == [], (name, width)


def test_the_leaderboard_sorts(show, sweeps):
  tab = show(sweeps["grid"])
  assert column(tab, "#")[:3] == ["1", "2", "3"]
  best = column(tab, "val/loss")
  values = [float(text.partition(" ")[0]) for text in best]
  assert values == sorted(values)
  head = tab.locator("#leaderboard th", has_text="tokens/s")
  for direction, reverse in (("ascending", False), ("descending", True)):
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == direction
    speeds = [int(text.replace(",", "")) for text in column(tab, "tokens/s")]
    assert speeds == sorted(speeds, reverse=reverse)
  assert column(tab, "val/loss") != best


def test_failed_trials_are_listed_with_their_reason(show, sweeps):
  tab = show(sweeps["grid"])
  tab.get_by_role("button", name="2 failed").click()
  states = column(tab, "state")
  assert len(states) == 2
  assert all("not finite" in state for state in states)


def test_the_legend_switches_curves(show, sweeps):
  tab = show(sweeps["grid"])
  bright = tab.locator("#curves .marks .curve:not(.grey)")
  assert bright.count() == 8
  tab.locator("#curves .chip[aria-pressed=true]").first.click()
  assert bright.count() == 7
  tab.get_by_role("button", name="all 35").click()
  assert bright.count() == 35
  before = tab.locator("#curves .marks").inner_html()
  tab.locator("#curves").get_by_label("against").select_option(label="seconds")
  tab.locator("#curves").get_by_label("log y").check()
  assert tab.locator("#curves .marks").inner_html() != before
  tab.locator("#curves").get_by_label("colour").select_option("cell")
  chips = tab.locator("#curves .chip[aria-pressed=true]").all_inner_texts()
  assert sorted(chips) == ["gru", "lstm", "rnn"]


def test_the_heat_map_shows_any_two_flags(show, sweeps):
  tab = show(sweeps["random"])
  heat = tab.locator("#heat")
  seen = set()
  for rows, columns in (("cell", "truncation"), ("learning_rate", "cell")):
    heat.get_by_label("rows").select_option(rows)
    heat.get_by_label("columns").select_option(columns)
    assert heat.get_by_label("rows").input_value() == rows
    seen.add(heat.locator(".stack").inner_html())
    assert heat.locator("rect.cell").count() == {"cell": 6, "learning_rate": 12}[rows]
  assert len(seen) == 2


def test_the_objective_is_chosen_where_there_are_two(show, tmp_path):
  trials = [
    {"slot": n, "state": "complete", "params": {"x": n}, "values": [1 + n, 9 + n]}
    for n in range(5)
  ]
  whole = {"objective": ["loss", "speed"], "directions": ["minimize", "maximize"]}
  (tmp_path / "trials.json").write_text(json.dumps({**whole, "trials": trials}))
  tab = show(page.write(tmp_path))
  assert column(tab, "trial") == ["0", "1", "2", "3", "4"]
  tab.locator("#command select").select_option(label="speed")
  assert column(tab, "trial") == ["4", "3", "2", "1", "0"]
  assert "speed" in tab.locator("#parallel .stack").text_content()
  assert tab.locator("#tradeoff .dot").count() == 5


def test_a_trial_is_pointed_at_everywhere(show, sweeps):
  tab = show(sweeps["grid"])
  tab.locator("#parallel .stack").scroll_into_view_if_needed()
  box = tab.locator("#parallel .stack").bounding_box()
  for step in range(60, 300, 3):
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + step)
    if tab.locator("#tip").is_visible():
      break
  slot = tab.locator("#parallel .lit .strand").get_attribute("data-slot")
  assert f"trial {slot}" in tab.locator("#tip").inner_text()
  assert tab.locator(f'#search .lit [data-slot="{slot}"]').count() == 1
  tab.mouse.move(0, 0)
  assert not tab.locator("#tip").is_visible()


def test_the_page_is_drawn_anew_at_another_width(show, sweeps):
  tab = show(sweeps["grid"])
  tab.set_viewport_size({"width": 400, "height": 800})
  tab.wait_for_function("document.querySelector('#curves svg').clientWidth < 400")
  assert tab.evaluate("document.documentElement.scrollWidth") == 400


def test_texts_of_runs_stay_texts(show, tmp_path):
  run = tmp_path / "runs" / "0"
  run.mkdir(parents=True)
  (run / "sample.txt").write_text(EVIL)
  trials = [
    {
      "slot": slot,
      "state": "complete",
      "params": {"x": slot, EVIL: f"{slot}{EVIL}"},
      "values": [1.0 + slot],
      "error": EVIL,
      "runs": [{"seed": 0, "workdir": "runs/0", "summary": None}],
    }
    for slot in range(3)
  ]
  whole = {"experiment": EVIL, "objective": [EVIL], "command": EVIL, "trials": trials}
  (tmp_path / "trials.json").write_text(json.dumps(whole))
  tab = show(page.write(tmp_path), 360)
  assert tab.title() == f"Sweep of {EVIL}"
  assert tab.locator("img").count() == 0
  assert tab.locator("#samples pre").first.inner_text() == EVIL
  tab.get_by_label("rows").select_option("x")
  assert tab.evaluate("document.documentElement.scrollWidth") == 360
