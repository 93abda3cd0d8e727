// Runs before the page is drawn, so that nothing flashes in the other theme.
(() => {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const set = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };
  set(kept());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Use the ${isDark() ? "light" : "dark"} theme`); };
    button.hidden = false;
    name();
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      set(theme);
      try { localStorage.setItem("theme", theme); } catch { /* private windows keep nothing */ }
      name();
      document.dispatchEvent(new Event("theme"));
    });
  });
})();
