// Small comforts of forms: filters apply themselves, "/" goes to the search field, toasts leave.
const typing = (element) => element?.matches("input, textarea, select, [contenteditable]");

function applyAtOnce(form) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=radio], input[type=checkbox]")) form.requestSubmit();
  });
}

function slash(event) {
  const field = document.querySelector("[data-slash]");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!field || typing(document.activeElement)) return;
  event.preventDefault();
  field.select();
}

function leave(toast) {
  const close = () => toast.remove();
  toast.querySelector("[data-dismiss]")?.addEventListener("click", close);
  let timer = setTimeout(close, 8000);
  const stay = () => clearTimeout(timer);
  toast.addEventListener("pointerenter", stay);
  toast.addEventListener("focusin", stay);
  toast.addEventListener("pointerleave", () => { timer = setTimeout(close, 3000); });
}

// A submit button says that it works, and cannot be pressed twice; coming back restores it.
function once(event) {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || form.hasAttribute("hx-post")) return;
  const button = event.submitter;
  if (!button || form.dataset.sent) { if (form.dataset.sent) event.preventDefault(); return; }
  form.dataset.sent = "1";
  button.setAttribute("aria-busy", "true");
}

function restore() {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
}

function openError() {
  const wrong = document.querySelector("main [aria-invalid=true]");
  if (wrong) wrong.focus();
}

// Controls for readers without script leave; those that need it come.
function scripted() {
  for (const element of document.querySelectorAll("[data-no-script]")) element.hidden = true;
  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
}

// A chosen file is read here and stands in its field, to be seen before it is sent.
async function readFile(event) {
  const field = document.getElementById(event.target.dataset.into);
  const file = event.target.files[0];
  if (!file) return;
  const text = await file.text();
  field.value = field.value.trim() ? `${field.value.trim()}\n${text}` : text;
  event.target.value = "";
  field.focus();
}

// What is said of a field while one types also marks the field itself.
function markFields() {
  for (const notes of document.querySelectorAll("[data-notes]")) {
    const wrong = notes.querySelector(".error:not(.warn-text)") !== null;
    for (const field of document.querySelectorAll(`[aria-describedby~="${notes.id}"]`)) {
      if (!field.matches("input, textarea, select")) continue;
      if (wrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    }
  }
}

export function forms() {
  scripted();
  document.addEventListener("htmx:after:swap", () => { scripted(); markFields(); });
  document.addEventListener("change", (event) => { if (event.target.dataset.into) readFile(event); });
  for (const form of document.querySelectorAll("form[data-apply]")) applyAtOnce(form);
  for (const toast of document.querySelectorAll(".toast")) leave(toast);
  document.addEventListener("keydown", slash);
  document.addEventListener("submit", once);
  addEventListener("pageshow", restore);
  openError();
}
