// The server writes times in UTC; here they become the reader's. The title keeps both, to the second.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const two = (n) => String(n).padStart(2, "0");

const sameDay = (a, b) => a.toDateString() === b.toDateString();

function zone(at) {
  const east = -at.getTimezoneOffset();
  if (east === 0) return "UTC";
  const sign = east < 0 ? "−" : "+";
  return `UTC${sign}${two(Math.floor(Math.abs(east) / 60))}:${two(Math.abs(east) % 60)}`;
}

function exact(at) {
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())} ${zone(at)}`;
}

function short(at, now) {
  if (sameDay(at, now)) return clock.format(at);
  return at.getFullYear() === now.getFullYear() ? day.format(at) : year.format(at);
}

function localise(element) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const utc = element.title;
  if (element.dataset.local === "clock") element.textContent = short(at, new Date());
  if (element.dataset.local === "moment") element.textContent = `${short(at, new Date())}, ${clock.format(at)}`;
  if (element.dataset.local === "second") element.textContent = `${clock.format(at)}:${two(at.getSeconds())}`;
  if (element.dataset.local === "moment" && sameDay(at, new Date())) element.textContent = clock.format(at);
  element.title = zone(at) === "UTC" ? utc : `${exact(at)}\n${utc}`;
  element.removeAttribute("data-local");
}

function all(root) {
  for (const element of root.querySelectorAll("time[data-local]")) localise(element);
}

export function localTimes() {
  all(document);
  document.addEventListener("htmx:after:swap", () => all(document));
}
