// Keys only: every page works without this file. Nothing here makes HTML.
"use strict";
(() => {
  const rows = Array.from(document.querySelectorAll("table.rows tbody tr"));
  const search = document.getElementById("q");
  let at = rows.findIndex((row) => location.hash && "#" + row.id === location.hash);

  function mark(place) {
    if (!rows.length) return;
    if (at >= 0) rows[at].removeAttribute("aria-selected");
    at = Math.max(0, Math.min(rows.length - 1, place));
    rows[at].setAttribute("aria-selected", "true");
    rows[at].querySelector("a.open").focus({ preventScroll: true });
    rows[at].scrollIntoView({ block: "nearest" });
    history.replaceState(null, "", "#" + rows[at].id);
  }

  function follow(rel) {
    const link = document.querySelector(`a[rel="${rel}"]`);
    if (link) location.assign(link.href);
    return Boolean(link);
  }

  function toSearch() {
    if (search) {
      search.focus();
      search.select();
      return;
    }
    const up = document.querySelector('a[rel="up"]');
    if (up) location.assign(up.href.split("#")[0] + "#q");
  }

  const actions = rows.length || search
    ? {
        j: () => mark(at + 1),
        k: () => mark(at < 0 ? 0 : at - 1),
        Enter: () => at >= 0 && location.assign(rows[at].querySelector("a.open").href),
        "]": () => follow("next"),
        "[": () => follow("prev"),
        "/": toSearch,
      }
    : { j: () => follow("next"), k: () => follow("prev"), Escape: () => follow("up"), "/": toSearch };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  if (location.hash === "#q") toSearch();
  else if (at >= 0) mark(at);
})();
