"""Three hundred clicks and moves without sense, and nothing breaks."""

from __future__ import annotations

import random

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MOVES = 300

# Number of things in sight that a hand could take, and a way to take one of them.
_COUNT = """() => {
  const shown = (element) => element.offsetParent !== null && !element.disabled;
  const app = document.querySelector(".keraslr-app");
  window.things = [...app.querySelectorAll(
    "button, .noUi-handle, select, input, textarea, .lm-TabBar-tab, .p-TabBar-tab, a[download]"
  )].filter(shown).filter((element) => !element.matches("a[download]"));
  return window.things.length;
}"""

_TAKE = """([index, chance, text]) => {
  const thing = window.things[index];
  if (!thing || !thing.isConnected) return "gone";
  const changed = () => ["input", "change"].forEach(
    (name) => thing.dispatchEvent(new Event(name, { bubbles: true })));
  if (thing.matches(".noUi-handle")) {
    const keys = ["ArrowRight", "ArrowLeft", "PageUp", "PageDown", "Home", "End"];
    const key = keys[Math.floor(chance * keys.length)];
    for (let press = 0; press < 1 + chance * 5; press++)
      thing.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  } else if (thing.matches("select")) {
    thing.selectedIndex = Math.floor(chance * thing.options.length);
    changed();
  } else if (thing.matches("input[type=checkbox]")) {
    thing.click();
  } else if (thing.matches("input, textarea")) {
    thing.value = text;
    changed();
    thing.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 13, bubbles: true }));
    thing.dispatchEvent(new FocusEvent("blur"));
  } else if (thing.matches("button")) {
    thing.click();
  } else {
    const box = thing.getBoundingClientRect();
    for (const name of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"]) {
      const made = { bubbles: true, clientX: box.x + 5, clientY: box.y + 5, button: 0 };
      thing.dispatchEvent(
        name.startsWith("pointer") ? new PointerEvent(name, made) : new MouseEvent(name, made));
    }
  }
  return thing.className || thing.tagName;
}"""

_TEXTS = ("3", "0", "-1", "1e9", "20, 10", "nonsense", "", "0.5", "64", "StepLR(0.1, step_size=3)")


def test_random_clicks_and_moves(voila, tmp_path):
    page = voila(
        "import os\n"
        f"os.chdir({str(tmp_path)!r})  # a saved model belongs to nobody\n"
        "from widgets import App\napp = App()\napp.panel('Training').dataset.value = 'digits'\napp"
    )
    page.panel("schedule").wait_for()
    page.page.wait_for_timeout(1000)
    chance = random.Random(20)
    taken = []
    for move in range(MOVES):
        if move % 25 == 24:
            bar = page.page.locator(".keraslr-app .lm-TabBar, .keraslr-app .p-TabBar").first
            tabs = bar.locator("li")
            tabs.nth(chance.randrange(tabs.count())).click()
            page.page.wait_for_timeout(600)
        count = page.page.evaluate(_COUNT)
        assert count > 5
        arguments = [chance.randrange(count), chance.random(), chance.choice(_TEXTS)]
        taken.append(page.page.evaluate(_TAKE, arguments))
        page.page.wait_for_timeout(chance.choice((0, 10, 60)))
    assert sum(each != "gone" for each in taken) > 0.95 * MOVES
    # It still answers; the fixture looks into the page's console and the kernel's log.
    tabs = page.page.locator(".keraslr-app .lm-TabBar, .keraslr-app .p-TabBar").first
    tabs.locator("li").nth(0).click()
    panel = page.panel("schedule")
    page.until(lambda: "strategy" in panel.inner_text())
    strategy = panel.locator("select").first
    strategy.select_option("step decay")
    page.until(lambda: "StepLR" in panel.inner_text())
    strategy.select_option("cosine annealing")
    page.until(lambda: "CosineAnnealingLR" in panel.inner_text())
