// Ctrl K: the search page's list in a dialog, filled while one types. Without script the same
// button is a link to /search.
const dialog = document.getElementById("palette");

function options() {
  return [...dialog.querySelectorAll("[role=option]")];
}

function choose(option) {
  const input = dialog.querySelector("input");
  for (const other of options()) other.setAttribute("aria-selected", String(other === option));
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const all = options();
  const now = all.findIndex((o) => o.getAttribute("aria-selected") === "true");
  choose(all[(now + step + all.length) % all.length]);
}

function go(newTab) {
  const chosen = dialog.querySelector("[aria-selected=true]");
  if (!chosen?.dataset.href) return;
  if (newTab) open(chosen.dataset.href, "_blank", "noopener");
  else location.href = chosen.dataset.href;
}

function keys(event) {
  if (event.key === "ArrowDown") move(1);
  else if (event.key === "ArrowUp") move(-1);
  else if (event.key === "Enter") go(event.ctrlKey || event.metaKey);
  else return;
  event.preventDefault();
}

export function palette() {
  if (!dialog) return;
  const input = dialog.querySelector("input");
  const show = (event) => {
    event.preventDefault();
    if (dialog.open) return;
    dialog.showModal();
    input.select();
    input.dispatchEvent(new Event("palette-open"));
  };
  for (const button of document.querySelectorAll("[data-palette]")) button.addEventListener("click", show);
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k") show(event);
  });
  input.addEventListener("keydown", keys);
  dialog.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) { choose(option); go(event.ctrlKey || event.metaKey); }
    else if (event.target === dialog) dialog.close();
  });
  document.addEventListener("htmx:after:swap", () => { if (dialog.open) choose(options()[0]); });
}
