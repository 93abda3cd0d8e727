"""One who uses the page with a browser, and what the browser complains of meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
from playwright.sync_api import ConsoleMessage, Page

WATCH = """document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));"""


@dataclass(frozen=True)
class Site:
    """Where the installation is served, and a token of each role."""

    address: str
    operator: str
    viewer: str

    def api(self) -> httpx.Client:
        """A program beside the browser."""
        return httpx.Client(
            base_url=f"{self.address}/api/v1", headers={"Authorization": f"Bearer {self.operator}"}, timeout=30
        )


@dataclass
class Visitor:
    """A browser's page; `complaints` are errors of its console, of its scripts, and of the content security policy."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(WATCH)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))

    def _listen(self, message: ConsoleMessage) -> None:
        # The browser logs every answer of 4xx as an error; what the sign-in page and bad specs bring is wanted.
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def sign_in(self, token: str) -> None:
        self.page.goto(self.site.address)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Experiments").wait_for()

    def open(self, path: str) -> None:
        self.page.goto(self.site.address + path)

    def through(self) -> None:
        """Scroll through the page, so that all of its plots come into view, and wait until each is drawn or gone."""
        figures = self.page.locator(".plots figure")
        figures.first.wait_for()
        for figure in figures.element_handles():
            # A plot that has nothing to show hides itself, perhaps just now.
            figure.evaluate("(it) => it.scrollIntoView({ block: 'center' })")
            drawn = "(it) => it.hidden || it.querySelector('.plot svg, .plot canvas') !== null"
            self.page.wait_for_function(drawn, arg=figure)

    def findings(self, axe: str) -> list[str]:
        """What axe-core finds serious or critical."""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"async () => {{ if (!window.axe) {{ {axe}; }} return (await axe.run()).violations; }}"
        )
        return [
            f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]
