// The list of leads: keys, selection, the drawer, the rows of the filter. Works on what the server drew.
(() => {
  "use strict";
  const peek = document.getElementById("peek");
  const rows = () => [...document.querySelectorAll("tr[data-row]")];
  const here = () => document.querySelector("tr[data-row].is-here");

  // --- Where one is: J and K move, Enter opens, X selects, Space peeks ------------------------
  const stand = (row) => {
    if (!row) return;
    here()?.classList.remove("is-here");
    row.classList.add("is-here");
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  };
  const move = (by) => {
    const all = rows();
    const at = all.indexOf(here());
    stand(all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))]);
    if (!peek.hidden) look();
  };
  const look = () => {
    const row = here() || rows()[0];
    if (!row) return;
    if (row !== here()) stand(row);
    window.htmx.ajax("GET", row.dataset.peek, { target: "#peek-body", swap: "innerHTML" });
    peek.hidden = false;
  };
  const close = () => {
    peek.hidden = true;
    here()?.focus();
  };
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    x: () => here()?.querySelector("input[name=lead]")?.click(),
    f: () => document.querySelector("[data-key-filter]")?.click(),
    Enter: () => here() && location.assign(here().dataset.href),
    " ": () => (peek.hidden ? look() : close()),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !peek.hidden) return close();
    if (document.body.dataset.keys === "off") return;
    if (event.target.closest("input, textarea, select, button, a, summary, dialog, [contenteditable]")) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || (event.shiftKey && event.key !== "Enter")) return;
    if (!rows().length && event.key.toLowerCase() !== "f") return;
    event.preventDefault();
    act();
  });

  // --- Selection: the whole page, and how many ------------------------------------------------
  const picked = () => {
    const boxes = [...document.querySelectorAll("input[name=lead][form=bulk]")];
    const count = boxes.filter((box) => box.checked).length;
    const shown = document.querySelector("[data-picked]");
    if (shown) shown.textContent = count;
    const all = document.querySelector("[data-pick-all]");
    if (all) {
      all.checked = count > 0 && count === boxes.length;
      all.indeterminate = count > 0 && count < boxes.length;
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
      for (const box of document.querySelectorAll("input[name=lead][form=bulk]")) box.checked = event.target.checked;
    }
    if (event.target.matches("[data-pick-all], input[name=lead]")) picked();
    if (event.target.matches("[data-rule] select[name=f]")) fit(event.target.closest("[data-rule]"), true);
    if (event.target.matches("[data-rule] select[name=o]")) fit(event.target.closest("[data-rule]"));
  });

  // --- Conditions: only what the field can be asked -------------------------------------------
  const fit = (rule, anew) => {
    const chosen = rule.querySelector("select[name=f]").selectedOptions[0];
    const able = (chosen?.dataset.ops || "").split(" ").filter(Boolean);
    const select = rule.querySelector("select[name=o]");
    for (const option of select.options) option.hidden = option.disabled = able.length > 0 && !able.includes(option.value);
    if (able.length && !able.includes(select.value)) select.value = able[0];
    const type = chosen?.dataset.kind === "date" && select.value === "between" ? "date" : "text";
    for (const input of rule.querySelectorAll("input")) {
      if (input.type === type) continue;
      input.type = type;
      if (anew) input.value = "";
    }
  };
  const fitAll = () => {
    for (const rule of document.querySelectorAll("[data-rule]")) fit(rule);
    picked();
  };

  document.addEventListener("click", (event) => {
    const step = event.target.closest("[data-peek-step]");
    if (step) move(Number(step.dataset.peekStep));
    if (event.target.closest("[data-peek-close]")) close();
    const add = event.target.closest("[data-rule-add]");
    if (add) {
      const all = add.form.querySelectorAll("[data-rule]");
      const rule = all[all.length - 1].cloneNode(true);
      for (const field of rule.querySelectorAll("input, select")) field.value = "";
      rule.querySelector("select[name=o]").selectedIndex = 0;
      all[all.length - 1].after(rule);
      fit(rule);
      rule.querySelector("select").focus();
    }
    const gone = event.target.closest("[data-rule-remove]");
    if (gone) {
      const rule = gone.closest("[data-rule]");
      if (gone.form.querySelectorAll("[data-rule]").length > 1) rule.remove();
      else for (const field of rule.querySelectorAll("input, select")) field.value = "";
    }
    const shift = event.target.closest("[data-move]");
    if (shift) {
      const item = shift.closest("li");
      if (shift.dataset.move < 0) item.previousElementSibling?.before(item);
      else item.nextElementSibling?.after(item);
      shift.focus();
    }
    const row = event.target.closest("tr[data-row]");
    if (row && !event.target.closest("a, button, input, label")) stand(row);
  });
  document.addEventListener("htmx:afterSettle", fitAll);
  fitAll();
})();
