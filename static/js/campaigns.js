// The rows of a campaign that are ticked: counted on the button, and not swapped away by a poll.
(() => {
  "use strict";
  const ticked = () => document.querySelectorAll("#rows input[name=ids]:checked");
  const show = () => {
    const button = document.querySelector("[data-choose-act]");
    if (!button) return;
    const count = ticked().length;
    button.disabled = !count;
    button.querySelector("[data-choose-count]").textContent = count || "";
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-choose-all]")) {
      for (const box of document.querySelectorAll("#rows input[name=ids]")) box.checked = event.target.checked;
    }
    if (event.target.closest("#rows")) show();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    const polled = elt.id === "rows" && requestConfig?.triggeringEvent?.type !== "campaign-changed";
    if (polled && ticked().length) event.preventDefault();
  });
  document.addEventListener("htmx:afterSwap", show);
  show();
})();
