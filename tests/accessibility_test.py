"""Every kind of page by axe-core: no violation of WCAG A and AA, nor of good practice.

Needs Chromium (Debian: apt-get install chromium), the Python package playwright, and
axe-playwright-python, of which the script axe-core is taken alone.
"""

import functools
import importlib.util
from pathlib import Path

import pytest
from browser_test import browser, sweeps  # noqa: F401  (fixtures)
from commands import run
from pages_test import task_of
from play_browser_test import alone, served, until  # noqa: F401  (fixtures)
from play_test import loaded

pytestmark = pytest.mark.integration
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
WIDTHS = {"desktop": 1280, "phone": 360}
RUNS = ("charlm", "tag", "classify", "forecast", "translate", "caption", "music")
CSV = "a,b,c\n" + "\n".join(f"{n},{-n},{n % 2}" for n in range(6))
# What is asked of the page of each kind of model, by the box and the button.
ASKED = {
  "language": ("Prefix", "the fox saw a dog", "Read", ".bars button"),
  "classify": ("Text", "the fox", "Label", ".bars div"),
  "tag": ("Sentences", "the <b> dog", "Tag", ".words li"),
  "forecast": ("Past values", CSV, "Forecast", "svg"),
}
# What a rule says of each element that violates it, or of which it is not sure.
FOUND = """async ([rules, sure]) => {
  const found = await axe.run(document, {runOnly: {type: "tag", values: rules}});
  return found[sure ? "violations" : "incomplete"].flatMap(({id, nodes}) =>
    nodes.map(({html, any, all, none}) => [id, html.slice(0, 200),
      ...[...any, ...all, ...none].map(({message}) => message)].join(" | ")));
}"""


@pytest.fixture(scope="module")
def axe():
  """The script."""
  package = importlib.util.find_spec("axe_playwright_python")
  if package is None or package.origin is None:
    pytest.skip("needs the Python package axe-playwright-python")
  return (Path(package.origin).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture
def check(browser, axe):  # noqa: F811
  """Opens a page in light and in dark, wide and narrow; nothing is found."""
  contexts = []

  def check(address, prepare=lambda tab: None):
    for scheme in ("light", "dark"):
      for name, width in WIDTHS.items():
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.goto(address)
        prepare(tab)
        tab.evaluate(axe)
        found = tab.evaluate(FOUND, [RULES, True])
        assert not found, f"{scheme}, {name}: {len(found)}\n" + "\n".join(found[:9])

  yield check
  for context in contexts:
    context.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Trains a page's model; the folder of the run."""
  folder = tmp_path_factory.mktemp("runs")

  @functools.cache
  def trained(name):
    _, settings = task_of(name, folder)
    flags = [*settings.given.values(), "--steps=4", "--eval_every=2"]
    done = run(folder, name, *flags, f"--workdir={name}")
    assert done.code == 0, done.err
    return folder / name

  return trained


def test_a_fault_is_found(check, tmp_path):
  page = tmp_path / "a.html"
  page.write_text("<title>a</title><p style='color: #999'>hardly seen</p>", "utf-8")
  with pytest.raises(AssertionError, match="color-contrast"):
    check(page.as_uri())


@pytest.mark.parametrize("name", RUNS)
def test_the_page_of_a_run(check, trained, name):
  check((trained(name) / "report.html").as_uri())


def test_the_page_of_units(check, trained):
  def leaf(tab):
    tab.get_by_label("next unit").click()

  folder = trained("charlm")
  done = run(folder, "units", "--workdir=.")
  assert done.code == 0, done.err
  check((folder / "units.html").as_uri())
  check((folder / "units.html").as_uri(), leaf)


@pytest.mark.parametrize("name", ["grid", "random", "empty"])
def test_the_page_of_a_sweep(check, sweeps, name):  # noqa: F811
  check(sweeps[name].as_uri())


def asked(kind):
  """Has a page answer."""
  box, text, button, answer = ASKED[kind]

  def ask(tab):
    tab.get_by_label(box).fill(text)
    tab.get_by_role("button", name=button, exact=True).click()
    tab.wait_for_selector(answer)

  return ask


def branched(tab):
  """Has two branches, and goes back to a token."""
  asked("language")(tab)
  for _ in range(2):
    tab.locator("#text span").nth(9).click()
    until(lambda: "Token 10 of" in tab.locator("#place").inner_text())
    tab.get_by_role("button", name="Step", exact=True).click()
    until(lambda: "Token 11 of" in tab.locator("#place").inner_text())
  tab.locator("#text span").nth(9).click()
  until(lambda: "Token 10 of" in tab.locator("#place").inner_text())


@pytest.mark.parametrize("kind", ASKED)
def test_a_page_to_play_with(check, served, kind):  # noqa: F811
  address = served(loaded(kind))
  check(address)
  check(address, asked(kind))


def test_a_page_with_branches(check, alone):  # noqa: F811
  check(alone, branched)
