// A file may be dropped anywhere on the frame around the file field, not only on the field itself.
(() => {
  "use strict";
  for (const area of document.querySelectorAll("[data-drop]")) {
    const input = area.querySelector("input[type=file]");
    const over = (yes) => area.classList.toggle("is-over", yes);
    area.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
    area.addEventListener("dragleave", () => over(false));
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
    });
  }
})();
