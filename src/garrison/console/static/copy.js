// Copy buttons. Where the clipboard is closed (plain HTTP by name), the text is selected instead.
function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

function mark(button, name) {
  const use = button.querySelector("use");
  const base = use.getAttribute("href").split("#")[0];
  use.setAttribute("href", `${base}#${name}`);
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const spoken = button.getAttribute("aria-label");
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    select(source);
    return;
  }
  mark(button, "check");
  button.setAttribute("aria-label", "Copied");
  setTimeout(() => {
    mark(button, "copy");
    button.setAttribute("aria-label", spoken);
  }, 1500);
}

export function copyButtons() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
}
