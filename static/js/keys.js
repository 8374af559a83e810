// Single keys: g and a letter goes to a page, / searches, ? shows the sheet. A person may switch
// them off (WCAG 2.1.4); other scripts ask `data-keys` of the body as well.
(() => {
  "use strict";
  const sheet = document.getElementById("keys");
  let wentAt = 0;

  const busy = (event) => event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented
    || document.querySelector("dialog[open]")
    || event.target.closest?.("input, textarea, select, [contenteditable]");
  const go = (letter) => {
    const link = document.querySelector(`a[data-go="${CSS.escape(letter)}"]`);
    if (link) location.assign(link.href);
    return Boolean(link);
  };
  const search = () => {
    const field = document.querySelector("main input[type=search]");
    if (field) { field.focus(); field.select(); }
    return Boolean(field);
  };
  const show = () => {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    sheet?.showModal();
    return Boolean(sheet);
  };

  document.addEventListener("keydown", (event) => {
    if (document.body.dataset.keys === "off" || busy(event)) return;
    const second = Date.now() - wentAt < 1500;
    wentAt = 0;
    let done = false;
    if (second) done = go(event.key.toLowerCase());
    else if (event.key === "g") { wentAt = Date.now(); done = true; }
    else if (event.key === "/") done = search();
    else if (event.key === "?") done = show();
    // No other script acts on the second key of "g c".
    if (done) { event.preventDefault(); event.stopImmediatePropagation(); }
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-keys-open]")) show();
    if (event.target === sheet || event.target.closest("[data-keys-close]")) sheet?.close();
  });

  // The menu scrolls on narrow screens: where one is stays in sight.
  const nav = document.querySelector(".top-nav");
  const here = nav?.querySelector("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
})();
