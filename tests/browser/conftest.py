"""A real installation and a real browser: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from optml_queue.api import create_app
from optml_queue.settings import Settings
from optml_queue.store.tokens import Role
from tests.api.serving import serving
from tests.browser.visitor import Site, Visitor
from tests.cluster import Cluster, cluster
from tests.valkey_server import valkey_server

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = "axe-core@4.11.0"
CACHE = Path(__file__).parent / ".cache"  # not in git
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("browser")
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url}, folder) as running:
        yield running


@pytest.fixture(scope="session")
def site(workers: Cluster) -> Iterator[Site]:
    app = create_app(
        Settings(
            broker_url=workers.environment["OPTML_BROKER_URL"],
            archive_url=workers.archive_url,
            cache_dir=workers.folder / "cache",
            api_requests_per_minute=1_000_000,
            monitor_url="http://127.0.0.1:5555",
        )
    )
    tokens = app.state.installation.tokens
    operator, _ = tokens.create("ada", Role.OPERATOR)
    viewer, _ = tokens.create("vic", Role.VIEWER)
    with serving(app) as address:
        yield Site(address, operator, viewer)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, fetched once."""
    source = CACHE / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is missing; apt-get install npm")
        CACHE.mkdir(exist_ok=True)
        command = ["npm", "install", "--prefix", str(CACHE), "--no-save", "--no-audit", "--no-fund", AXE]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return source.read_text()


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[Visitor]:
    """An operator who has signed in, at a desk. Nothing may be amiss in the console at the end."""
    with browser.new_context(viewport=DESKTOP, color_scheme="light", accept_downloads=True) as context:
        visitor = Visitor(_page(context.new_page()), site)
        visitor.sign_in(site.operator)
        yield visitor
        assert visitor.complaints == []


@pytest.fixture(params=["light", "dark", "phone"])
def looker(request: pytest.FixtureRequest, browser: Browser, site: Site) -> Iterator[Visitor]:
    """One who looks at pages at a desk in light or dark, or on a phone."""
    size, scheme = PHONE if request.param == "phone" else DESKTOP, "dark" if request.param == "dark" else "light"
    with browser.new_context(viewport=size, color_scheme=scheme) as context:  # type: ignore[arg-type]  # a literal
        visitor = Visitor(_page(context.new_page()), site)
        visitor.sign_in(site.operator)
        yield visitor
        assert visitor.complaints == []


def _page(page: Page) -> Page:
    page.set_default_timeout(15_000)
    return page
