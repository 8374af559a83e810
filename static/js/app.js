// Small helps on top of pages that also work without them. No texts here: they come from the server.
(() => {
  "use strict";
  const dialog = document.getElementById("dialog");
  const dialogBody = document.getElementById("dialog-body");
  const lost = document.getElementById("lost");
  const words = document.body.dataset;

  // --- Dialogs: a link loads its question into #dialog-body, and the dialog opens -------------
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target === dialogBody) {
      if (dialogBody.childElementCount && !dialog.open) dialog.showModal();
      (dialogBody.querySelector("[autofocus]") || dialogBody).focus?.();
      armConfirm();
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, requestConfig, successful, target } = event.detail;
    const acted = successful && requestConfig.verb !== "get"; // a part of it that loads later is no act
    if (acted && dialog?.open && target !== dialogBody && elt.closest?.("dialog")) dialog.close();
  });
  dialog?.addEventListener("close", () => dialogBody.replaceChildren());
  dialog?.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) {
      event.preventDefault();
      dialog.close();
    }
  });

  // The number to type before a large start; the server asks for it again.
  const armConfirm = () => {
    for (const input of document.querySelectorAll("input[data-confirm]")) {
      const button = input.form?.querySelector("[data-confirmed]");
      if (!button) continue;
      const check = () => { button.disabled = input.value.trim() !== input.dataset.confirm; };
      input.addEventListener("input", check);
      check();
    }
  };
  armConfirm();

  // --- Menus: one open at a time, closed by Escape and by a click elsewhere -------------------
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target) || event.target.closest("a.menu-item[hx-get]")) menu.open = false;
    }
    const gone = event.target.closest("[data-dismiss]");
    if (gone) gone.closest(".toast-note").remove();
    const copier = event.target.closest("[data-copy]");
    if (copier) copy(copier);
    const word = event.target.closest("[data-insert]");
    if (word) insert(word.dataset.insert);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  // A text to take along; where there is no clipboard it is marked, ready for Ctrl+C.
  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector("[data-copied]");
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      label.textContent = label.dataset.copied;
    } catch {
      getSelection().selectAllChildren(source);
      source.select?.();
    }
  };
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  const insert = (text) => {
    const area = document.querySelector("textarea[data-text]");
    if (!area) return;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.focus();
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // A live part that is swapped keeps its menus open.
  let open = [];
  const opened = (part) => [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
  const remember = (event) => { open = opened(event.detail.target || event.target); };
  // What rides along is swapped before the part itself, which must not be forgotten meanwhile.
  const rememberToo = (event) => { open.push(...opened(event.detail.target || event.target)); };
  const restore = () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  };
  document.addEventListener("htmx:beforeSwap", remember);
  document.addEventListener("htmx:oobBeforeSwap", rememberToo);
  document.addEventListener("htmx:afterSwap", restore);
  document.addEventListener("htmx:oobAfterSwap", restore);

  // --- Toasts ----------------------------------------------------------------------------------
  const fade = () => {
    for (const note of document.querySelectorAll(".toast-note:not([data-seen])")) {
      note.dataset.seen = "";
      if (!note.classList.contains("toast-error")) setTimeout(() => note.remove(), 7000);
    }
  };
  const toast = (text) => {
    const note = document.createElement("div");
    note.className = "toast-note toast-error";
    note.append(text);
    document.getElementById("toasts").append(note);
  };
  fade();
  document.addEventListener("htmx:afterSettle", fade);
  document.addEventListener("htmx:oobAfterSwap", fade);

  // --- Polling: not in a hidden tab; marked as old when the server is away --------------------
  const polls = (element) => (element.getAttribute("hx-trigger") || "").includes("every");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && polls(event.detail.elt)) event.preventDefault();
  });
  const old = (yes) => {
    if (lost) lost.hidden = !yes;
    for (const part of document.querySelectorAll("[data-live]")) part.classList.toggle("is-old", yes);
  };
  document.addEventListener("htmx:sendError", () => old(true));
  document.addEventListener("htmx:afterOnLoad", () => old(false));
  document.addEventListener("htmx:responseError", (event) => {
    const { elt, xhr } = event.detail;
    if (polls(elt)) return old(true);
    // Refusals under htmx are a sentence in plain text (agenticos/pages.py).
    const said = (xhr.getResponseHeader("Content-Type") || "").startsWith("text/plain");
    toast((said && xhr.responseText) || words.failed);
  });

  // --- Filters: nothing empty in the address --------------------------------------------------
  document.addEventListener("htmx:configRequest", (event) => {
    if (!event.detail.elt.matches("form[data-filter]")) return;
    for (const [name, value] of [...Object.entries(event.detail.parameters)]) {
      if (value === "") delete event.detail.parameters[name];
    }
  });

  // --- Times that count -----------------------------------------------------------------------
  const two = (n) => String(n).padStart(2, "0");
  const tick = () => {
    const now = Date.now();
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const s = Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000));
      if (s < 60) time.textContent = words.s.replace("0", s);
      else if (s < 3600) time.textContent = words.min.replace("0", Math.floor(s / 60));
      else if (s < 86400) time.textContent = words.h.replace("0", Math.floor(s / 3600));
    }
    for (const time of document.querySelectorAll("time[data-until]")) {
      const s = Math.max(0, Math.ceil((Date.parse(time.dateTime) - now) / 1000));
      const h = Math.floor(s / 3600);
      time.textContent = s < 86400 ? `${h ? `${h}:` : ""}${h ? two(Math.floor(s / 60) % 60) : Math.floor(s / 60)}:${two(s % 60)}` : time.textContent;
    }
  };
  tick();
  setInterval(tick, 1000);
  document.addEventListener("htmx:afterSwap", tick);
})();
