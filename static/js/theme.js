// Runs before the first paint: "system" becomes light or dark, so nothing flashes.
(() => {
  const root = document.documentElement;
  if (root.dataset.themeChoice !== "system") return;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => root.setAttribute("data-bs-theme", dark.matches ? "dark" : "light");
  apply();
  dark.addEventListener("change", apply);
})();
