// Parts of a page that are read anew every few seconds, as long as somebody looks and has nothing chosen there.
for (const part of document.querySelectorAll("[data-refresh]")) {
  const again = async () => {
    const busy = part.contains(document.activeElement) && document.activeElement !== part;
    if (!document.hidden && !busy && !part.querySelector("input:checked")) {
      try {
        const response = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (response.ok) {
          const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(part.id);
          if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
        }
      } catch { /* the next time, perhaps */ }
    }
    setTimeout(again, part.dataset.refresh * 1000);
  };
  setTimeout(again, part.dataset.refresh * 1000);
}
