// A passkey that was cancelled or is not there: said on the page, not in the console alone.
(() => {
  "use strict";
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const note = document.getElementById("passkey-failed");
    if (note) note.hidden = false;
  });
})();
