"""Every panel opened in a browser, a slider moved, and the picture seen to change."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# In the order of the app's tabs: name in the DOM class, what makes the panel, and a slider whose
# move the picture shows.
PANELS = {
    "schedule": ("SchedulePanel('step decay')", "step_size"),
    "advice": ("AdvicePanel()", "T_max"),
    "descent": ("DescentPanel()", "noise"),
    "training": ("TrainingPanel(dataset='digits')", "epochs"),
    "comparison": ("ComparisonPanel()", "epochs"),
    "smoothing": ("SmoothingPanel()", "steps back"),
}

_CLIPPED_TABS = """() => [...document.querySelectorAll(".lm-TabBar-tabLabel, .p-TabBar-tabLabel")]
  .filter((label) => label.scrollWidth > label.clientWidth).map((label) => label.textContent)"""


def moved(page, name: str, label: str) -> None:
    panel = page.panel(name)
    panel.locator(".keraslr-picture").filter(visible=True).first.wait_for()
    page.page.wait_for_timeout(500)
    # The advice panel's slider is that of the schedule panel in it.
    pictures = panel.locator(".keraslr-picture").filter(visible=True)
    before = pictures.last.get_attribute("src")
    page.slide(panel, label, keys=4)
    page.until(lambda: pictures.last.get_attribute("src") != before, what=f"{name}: {label}")


def test_every_panel_in_jupyterlab(lab, artefacts):
    """One kernel for all: a cell each, and one that says what the kernel then holds."""
    cells = [f"{name} = {make}\n{name}" for name, (make, _) in PANELS.items()]
    said = f"print([panel.message.value for panel in ({', '.join(PANELS)})])"
    page = lab("from widgets import *", *cells, said)
    page.run_cell(0)
    for index, (name, (_, label)) in enumerate(PANELS.items(), start=1):
        page.run_cell(index)
        moved(page, name, label)
        page.panel(name).screenshot(path=artefacts / f"lab-{name}.png")
    assert "must" not in page.run_cell(len(PANELS) + 1)


def test_all_panels_in_voila(voila, artefacts):
    """As `make app` shows them, on a wide and on a narrow page."""
    page = voila("from widgets import App\napp = App()\napp")
    page.panel("schedule").wait_for()
    bar = page.page.locator(".keraslr-app .lm-TabBar, .keraslr-app .p-TabBar").first
    assert bar.locator("li").count() == len(PANELS)
    for index, name in enumerate(PANELS):
        bar.locator("li").nth(index).click()
        panel = page.panel(name)
        panel.wait_for()
        page.page.wait_for_timeout(700)
        for width in (600, 1000):
            page.page.set_viewport_size({"width": width, "height": 1000})
            page.page.wait_for_timeout(300)
            page.page.screenshot(path=artefacts / f"voila-{name}-{width}.png", full_page=True)
            # Nothing hangs out at the side.
            page.until(
                lambda width=width: (
                    page.page.evaluate("document.documentElement.scrollWidth") <= width
                )
            )
            page.until(lambda: page.page.evaluate(_CLIPPED_TABS) == [])
        if name == "advice":
            assert "Cosine annealing" in panel.inner_text()
        else:
            moved(page, name, "T_max" if name == "schedule" else PANELS[name][1])


def test_advice_is_loaded_into_the_schedule_panel(voila):
    page = voila("from widgets import App\napp = App()\napp")
    page.panel("schedule").wait_for()
    tabs = page.page.locator(".keraslr-app .lm-TabBar-tabLabel, .keraslr-app .p-TabBar-tabLabel")
    tabs.filter(has_text="Advice").first.click()
    advice = page.panel("advice")
    advice.locator("select").nth(0).select_option("small data, short training")
    page.until(lambda: "1. One cycle" in advice.inner_text())
    page.button(advice, "Load").click()
    schedule = page.panel("schedule")
    assert page.until(lambda: schedule.is_visible() and "OneCycleLR" in schedule.inner_text())


_DRAG = """async ([handle, moves]) => {
  for (const [key, times] of moves)
    for (let move = 0; move < times; move++) {
      handle.dispatchEvent(new KeyboardEvent("keydown", { key }));
      await new Promise((done) => setTimeout(done, 8));
    }
}"""


def test_a_drag_ends_at_the_last_value(lab):
    """Many moves in a second leave the last one's picture, and no queue."""
    page = lab(
        "from widgets import DescentPanel, SchedulePanel\npanel = SchedulePanel()\ndrawn = []\n"
        "draw = panel.chart.draw\n"
        "panel.chart.draw = lambda *a, **k: (drawn.append(panel.schedule), draw(*a, **k))\npanel",
        "print(panel.form.controls['T_max'].value, panel.schedule.schedule.T_max, len(drawn))",
        "descent = DescentPanel()\ndescent",
        "print(descent.steps.value, descent.step.max, descent.step.value)",
    )

    def drag(panel, label: str, *moves: tuple[str, int]) -> None:
        page.page.wait_for_timeout(500)
        handle = page.handle(panel, label).element_handle()
        page.page.evaluate(_DRAG, [handle, moves])

    page.run_cell(0)
    drag(page.panel("schedule"), "T_max", ("ArrowRight", 60))
    said = page.until(lambda: (found := page.run_cell(1)).startswith("90 90 ") and found)
    assert int(said.split()[2]) < 50  # pictures

    # Who looks at the end of the paths still does, on both sides.
    page.run_cell(2)
    descent = page.panel("descent")
    drag(descent, "steps", ("ArrowRight", 40), ("ArrowLeft", 20))
    page.until(lambda: page.run_cell(3) == "120 120 120")
    page.slide(descent, "step", keys=3, key="ArrowLeft")
    page.until(lambda: page.run_cell(3) == "120 120 117")
