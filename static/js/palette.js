// The palette: Ctrl K or ⌘K goes anywhere. The server finds and words; here are the keys alone.
(() => {
  "use strict";
  const palette = document.getElementById("palette");
  const input = document.getElementById("palette-input");
  if (!palette) return;

  const options = () => [...palette.querySelectorAll("[role=option]")];
  let at = 0;
  const choose = (number) => {
    const all = options();
    if (!all.length) return input.removeAttribute("aria-activedescendant");
    at = (number + all.length) % all.length;
    all.forEach((option, n) => option.setAttribute("aria-selected", String(n === at)));
    input.setAttribute("aria-activedescendant", all[at].id);
    all[at].scrollIntoView({ block: "nearest" });
  };
  const open = () => {
    if (palette.open) return;
    for (const other of document.querySelectorAll("dialog[open]")) other.close();
    palette.showModal();
    input.value = "";
    input.focus();
    htmx.trigger(input, "palette-open");
  };

  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      if (palette.open) palette.close();
      else open();
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-palette]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      open();
    }
  });
  palette.addEventListener("click", (event) => {
    if (event.target === palette || event.target.closest("[data-palette-close]")) palette.close();
  });
  palette.addEventListener("submit", (event) => {
    if (event.target === input.form) event.preventDefault();
  });
  input.addEventListener("keydown", (event) => {
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 6, PageUp: at - 6 };
    if (event.key in moves) {
      event.preventDefault();
      const last = options().length - 1;
      const far = event.key.startsWith("Page");
      choose(far ? Math.min(Math.max(moves[event.key], 0), last) : moves[event.key]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      options()[at]?.click();
    }
  });
  palette.addEventListener("mousemove", (event) => {
    const option = event.target.closest("[role=option]");
    const number = options().indexOf(option);
    if (option && number !== at) choose(number);
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (palette.open && event.detail.requestConfig?.elt === input) choose(0);
  });
})();
