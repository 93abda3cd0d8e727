"""The page in a real browser, over a real server and real workers."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from optml_queue.trial import TrialState
from tests.browser.visitor import Site, Visitor
from tests.cluster import Cluster

pytestmark = pytest.mark.browser

RATES = "0.5, 0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 5e-6, 1e-6, 5e-7, 1e-7, 5e-8, 1e-8"


def _filled_in(visitor: Visitor, name: str) -> None:
    """The form for the paper's LMS grid, submitted."""
    page = visitor.page
    page.get_by_role("link", name="New experiment").click()
    page.get_by_label("Name", exact=True).fill(name)
    values = page.get_by_label("learning_rate: values, separated by commas")
    values.fill("0.5, -1")
    expect(page.locator(".parameter .wrong")).to_contain_text("must be > 0, got -1")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    values.fill(RATES)
    expect(page.locator("#count")).to_have_text("16 trials")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("heading", name=re.compile(f"{name}-")).wait_for()


def _extended(visitor: Visitor, workers: Cluster, id_: str) -> None:
    """An experiment that is over gets a value more, by its page."""
    page = visitor.page
    visitor.open(f"/experiments/{id_}")
    page.get_by_role("link", name="Extend…").click()
    spec = page.get_by_label("Spec", exact=True)
    text = spec.input_value()
    page.get_by_role("button", name="Extend").click()
    expect(page.locator("main")).to_contain_text("has all points of this spec already")
    visitor.open(f"/experiments/{id_}/extend")
    spec.fill(text.replace("0.5, ", "0.5, 5e-9, ", 1))
    expect(page.locator("#count")).to_have_text("17 trials")
    page.get_by_role("button", name="Extend").click()
    expect(page.get_by_role("status").first).to_have_text("Extended. The new points run.")
    expect(page.locator("#ended")).to_have_text("17")
    expect(page.locator(".head .badge")).to_have_text("complete")
    (new,) = [trial for trial in workers.trials(id_) if trial.params["learning_rate"] == 5e-9]
    assert new.state is TrialState.COMPLETE


def test_from_the_form_to_the_end_of_a_grid_and_its_table(visitor: Visitor, workers: Cluster) -> None:
    page = visitor.page
    _filled_in(visitor, "lms-form")
    id_ = page.locator("h1").inner_text()
    expect(page.locator(".head .badge")).to_have_text("complete")  # without a reload: the page follows
    expect(page.locator("#ended")).to_have_text("16")
    expect(page.locator("[data-live=hints]")).to_contain_text("diverged: leave them out")
    visitor.through()
    expect(page.locator("#plot-error .plot")).to_have_attribute("aria-label", re.compile("nmse over learning_rate"))

    page.get_by_role("link", name=re.compile("sort and filter")).click()
    numbers = page.locator("tbody th[scope=row]")
    with visitor.site.api() as api:
        ranked = api.get(f"/experiments/{id_}/best?limit=100").json()["points"]
    expect(numbers).to_have_text([str(point["number"]) for point in ranked])
    # The heads of the leaderboard lead here too, sorted by a parameter.
    page.get_by_role("columnheader", name="learning_rate").get_by_role("link").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text(re.compile("learning_rate"))
    expect(numbers).to_have_text([str(n) for n in reversed(range(16))])  # as they were typed, downwards
    page.get_by_role("columnheader", name="learning_rate").get_by_role("link").click()
    expect(numbers).to_have_text([str(n) for n in range(16)])
    page.get_by_role("columnheader", name="nmse").get_by_role("link").click()
    page.get_by_role("columnheader", name="nmse").get_by_role("link").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text(re.compile("nmse"))
    expect(numbers).to_have_text([str(point["number"]) for point in reversed(ranked)])
    page.get_by_role("link", name=re.compile("^diverged")).click()
    page.get_by_label("Only trials with").fill("learning_rate >= 0.1")
    page.get_by_role("button", name="Filter").click()
    expect(numbers).to_have_text(["0", "1"])
    page.get_by_label("Only trials with").fill("learning_rat > 1")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("alert")).to_contain_text("there is no parameter 'learning_rat'")

    _extended(visitor, workers, id_)
    visitor.open(f"/experiments/new?like={id_}")
    spec = page.get_by_label("Spec", exact=True)
    spec.fill(spec.input_value().replace("5e-9, ", "5e-9, 6e-9, ") + "\nreuse: true\n")
    expect(page.locator("#count")).to_have_text("18 trials · 17 results reused")
    visitor.open(f"/experiments/{id_}")
    with page.expect_download() as download:
        page.get_by_role("link", name="results.csv").click()
    downloaded = Path(download.value.path()).read_text()
    with visitor.site.api() as api:
        assert downloaded == api.get(f"/experiments/{id_}/results.csv").text
        trials = api.get(f"/experiments/{id_}/trials").json()["trials"]
    rows = list(csv.DictReader(io.StringIO(downloaded)))
    assert [(int(row["number"]), row["state"]) for row in rows] == [(t["number"], t["state"]) for t in trials]


def test_what_runs_is_shown_live_paused_and_cancelled(visitor: Visitor, workers: Cluster) -> None:
    page = visitor.page
    id_ = workers.submit("  value: {min: 1, max: 40, count: 40}\n  sleep_s: {value: 0.4}\n  polite: {value: true}")
    visitor.open(f"/experiments/{id_}")
    expect(page.locator("#running-title")).to_be_visible()
    page.wait_for_function("() => Number(document.getElementById('ended').textContent) >= 3")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".head .badge")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .badge")).to_have_text("running")
    page.get_by_role("link", name="Stop…").click()
    page.get_by_label("Why?").fill("lunch")
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator(".head .badge")).to_have_text("stopped")  # once the running ones have ended
    expect(page.locator(".head .sub")).to_contain_text("lunch")
    counts = workers.store.experiment(id_).counts
    assert (counts[TrialState.RUNNING], counts[TrialState.CANCELLED]) == (0, 0)
    assert counts[TrialState.QUEUED] > 0
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .badge")).to_have_text("running")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_label("Why?").fill("a better <b>idea</b>")
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator(".head .badge")).to_have_text("cancelled")
    expect(page.locator(".head .sub")).to_contain_text("a better <b>idea</b>")
    workers.end(id_)
    assert workers.store.experiment(id_).reason == "a better <b>idea</b>"


def test_a_failed_trial_shows_why_and_runs_again(visitor: Visitor, workers: Cluster) -> None:
    page = visitor.page
    marks = workers.folder / "retried"
    marks.mkdir()
    # The first attempt raises, and attempts go on counting: what is replayed completes.
    parameters = f"  value: {{values: [1.0, 2.0]}}\n  fails: {{value: 1}}\n  marks: {{value: {marks}}}"
    id_ = workers.submit(parameters, more="max_failed: 10")
    workers.end(id_)
    visitor.open(f"/experiments/{id_}")
    expect(page.locator(".trouble")).to_contain_text("attempt 1 fails")
    page.get_by_role("link", name="all with their reasons").click()
    page.get_by_role("button", name="Run trial 0 again").click()
    page.get_by_role("heading", name="Trial 0").wait_for()
    expect(page.get_by_role("status")).to_have_text("These trials will run again.")
    expect(page.locator(".attempt")).to_contain_text("ValueError: attempt 1 fails")
    workers.end(id_)
    visitor.open(f"/experiments/{id_}/trials/0")
    expect(page.locator(".sub .badge")).to_have_text("complete")


def test_a_viewer_is_offered_nothing_that_changes_anything(browser: Browser, site: Site, workers: Cluster) -> None:
    id_ = workers.submit("  value: {values: [1.0]}")
    with browser.new_context() as context:
        visitor = Visitor(context.new_page(), site)
        visitor.sign_in(site.viewer)
        for path in ("/", f"/experiments/{id_}", f"/experiments/{id_}/trials", f"/experiments/{id_}/trials/0"):
            visitor.open(path)
            assert visitor.page.locator("main form[method=post]").count() == 0
            assert visitor.page.get_by_role("link", name=re.compile("New experiment|…$")).count() == 0
        visitor.open("/experiments/new")
        expect(visitor.page.locator("main")).to_contain_text("the token vic is a viewer's: it may change nothing")
        visitor.page.get_by_role("button", name="Sign out").click()
        visitor.page.get_by_label("Token").wait_for()
        visitor.open(f"/experiments/{id_}")
        expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert visitor.complaints == []


@pytest.fixture(scope="module")
def shown(workers: Cluster) -> tuple[str, str]:
    """A finished search over three parameters with two metrics, and an experiment with a failed trial."""
    rich = workers.submit(
        "  value: {values: [1.0, 2.0, 3.0, 30.0]}\n  sleep_s: {values: [0.0, 0.01, 0.02]}\n"
        "  polite: {values: [false, true]}",
        name="rich",
        more="metrics: [{name: nmse}, {name: duration_s}]\nconstraints: [value < 20]",
    )
    failed = workers.submit("  value: {values: [1.0]}\n  fails: {value: 9}", name="failing")
    for each in (rich, failed):
        workers.end(each)
    return rich, failed


def test_every_page_is_accessible_and_fits(looker: Visitor, axe: str, shown: tuple[str, str]) -> None:
    rich, failed = shown
    paths = {
        "list": "/",
        "experiment": f"/experiments/{rich}?front=yes",
        "closer": f"/experiments/{rich}/plots/pareto?x=duration_s",
        "trials": f"/experiments/{rich}/trials",
        "failed trials": f"/experiments/{failed}/trials?state=failed",
        "failed trial": f"/experiments/{failed}/trials/0",
        "new": "/experiments/new",
        "extend": f"/experiments/{rich}/extend",
        "confirm": f"/experiments/{rich}/remove",
        "compare": f"/compare?id={rich}&id={failed}",
        "workers": "/workers",
        "problem": "/experiments/none-such",
    }
    for name, path in paths.items():
        looker.open(path)
        if name == "experiment":
            looker.through()
        if name == "closer":
            looker.page.locator(".plot .main-svg").first.wait_for()
        if name == "new":
            expect(looker.page.locator("#count")).to_contain_text("trials")
        assert looker.findings(axe) == [], name
        width = looker.page.evaluate("document.documentElement.scrollWidth")
        assert width <= looker.page.evaluate("document.documentElement.clientWidth"), f"{name} scrolls sideways"


def test_plots_are_drawn_without_a_library_and_closer_ones_with_it(visitor: Visitor, shown: tuple[str, str]) -> None:
    page, (rich, _) = visitor.page, shown
    scripts: list[str] = []
    page.on("request", lambda request: scripts.append(request.url) if request.resource_type == "script" else None)
    visitor.open(f"/experiments/{rich}")
    visitor.through()
    # It takes the browser's main thread for the better part of a second: whoever asks for it waits, and nobody else.
    assert not [url for url in scripts if "plotly" in url]
    front = page.locator("#plot-pareto")
    expect(front.locator(".plot")).to_have_attribute("aria-label", re.compile(r"on the Pareto front$"))
    expect(front.locator("svg")).to_contain_text("breaks a constraint (6)")
    expect(page.locator("#plot-importance .plot")).to_have_attribute("aria-label", re.compile(r"value \d+ %"))
    expect(page.locator("#plot-contour svg")).to_be_visible()
    page.locator("#plot-contour select").first.select_option("sleep_s")
    expect(page.locator("#plot-contour .plot")).to_have_attribute("aria-label", re.compile("over sleep_s and value"))

    mark = front.locator(".marks g path").last  # on the front
    mark.scroll_into_view_if_needed()
    mark.hover()
    expect(front.locator(".tip")).to_contain_text("duration_s")
    number = front.locator(".tip").inner_text().rpartition("trial ")[2].strip()
    mark.click()
    page.get_by_role("heading", name=f"Trial {number}", exact=True).wait_for()

    visitor.open(f"/experiments/{rich}")
    page.get_by_role("link", name="Look closer: Two parameters").click()
    page.get_by_role("heading", name="Two parameters").wait_for()
    page.locator(".plot .main-svg").first.wait_for()
    assert [url for url in scripts if "plotly" in url]


def test_it_can_be_used_by_keyboard_and_in_the_other_theme(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("button", name="Use the dark theme").press("Enter")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_an_uploaded_file_is_searched_over(visitor: Visitor, workers: Cluster, tmp_path: Path) -> None:
    page = visitor.page
    series = tmp_path / "series.csv"
    series.write_text("month,level\n" + "".join(f"{n},{50 + n % 12}\n" for n in range(400)))
    visitor.open("/experiments/new")
    page.get_by_label("Algorithm").select_option("ann")
    page.get_by_role("button", name="Search over network_size too").click()
    page.get_by_label("How network_size is given").select_option("all lists")
    page.get_by_label("network_size: to").fill("2")
    expect(page.locator("#count")).to_have_text("60 trials")  # 3 + 9 lists, 5 rates
    page.get_by_label("network_size: of").fill("16, x")
    expect(page.locator("p.wrong:visible")).to_have_text("must be an integer, got 'x'")
    page.get_by_label("Algorithm").select_option("lms")
    page.get_by_label("Data", exact=True).select_option("csv")
    expect(page.locator("#field-data-csv-wrong")).to_be_visible()  # no file yet
    page.get_by_label("File").set_input_files(series)
    # A field for text becomes a list of the file's columns once the file is read.
    page.locator("select#field-data-column").select_option("level")
    page.get_by_role("button", name="Search over filter_size too").click()
    page.get_by_label("How filter_size is given").select_option("range")
    page.get_by_label("filter_size: from").fill("2")
    page.get_by_label("filter_size: to").fill("5")
    page.get_by_label("filter_size: count").fill("4")
    page.get_by_label("learning_rate: values, separated by commas").fill("1e-5, 1e-6")
    expect(page.locator("#count")).to_have_text("8 trials")
    page.get_by_label("Spec", exact=True).press("Control+End")
    page.keyboard.type("seeds: [0, x]")
    expect(page.locator("#problems .line")).to_have_text("line 9")
    page.get_by_role("button", name="Use the fields again").click()
    expect(page.locator("#count")).to_have_text("8 trials")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#ended")).to_have_text("8")
    id_ = page.locator("h1").inner_text()
    assert workers.end(id_).counts[TrialState.COMPLETE] == 8
