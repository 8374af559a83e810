// Passkeys: allauth's scripts do the work; which form of the page is theirs stands in its markup.
(() => {
  "use strict";
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const note = document.getElementById("passkey-failed");
    if (note) note.hidden = false;
  });
  for (const each of document.querySelectorAll("[data-passkey]")) {
    window.allauth.webauthn.forms[each.dataset.passkey]({ ids: JSON.parse(each.dataset.ids) });
  }
})();
