// The ICP editor: sliders beside their numbers, each group's share, the line of bands.
(() => {
  "use strict";
  const form = document.getElementById("icp-form");
  if (!form) return;
  const number = (id) => Number.parseFloat(document.getElementById(id)?.value) || 0;

  const draw = () => {
    const shares = [...form.querySelectorAll("[data-share]")];
    const sum = shares.reduce((total, each) => total + number(each.dataset.share), 0);
    for (const each of shares) {
      each.textContent = sum ? `${Math.round((100 * number(each.dataset.share)) / sum)} %` : "";
    }
    for (const band of form.querySelectorAll("[data-from]")) {
      band.setAttribute("x", Math.min(100, Math.max(0, number(band.dataset.from))));
    }
  };
  for (const slider of form.querySelectorAll("[data-slider]")) {
    const field = document.getElementById(slider.dataset.slider);
    const follow = () => {
      slider.max = Math.max(100, Math.ceil(number(field.id)));
      slider.value = number(field.id);
    };
    slider.hidden = false;
    slider.disabled = field.matches(":disabled");
    follow();
    field.addEventListener("input", follow);
    slider.addEventListener("input", () => { field.value = slider.value; });
  }
  form.addEventListener("input", draw);
  draw();
  // Every change shows its effect by itself.
  for (const button of form.querySelectorAll("[data-without-script]")) button.hidden = true;
})();
