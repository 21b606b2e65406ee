// htmx requests carry the page's token; when the Console does not answer, the page says so.
const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";
const notice = document.getElementById("offline");

function lost() {
  if (notice) notice.hidden = false;
}

function back() {
  if (notice) notice.hidden = true;
}

export function requests() {
  document.addEventListener("htmx:config:request", (event) => {
    if (token) event.detail.ctx.request.headers["X-CSRF-Token"] = token;
  });
  document.addEventListener("htmx:error", lost);
  document.addEventListener("htmx:after:request", back);
}
