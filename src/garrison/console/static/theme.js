// The theme is a cookie, so that the server can write it into the page and nothing flashes.
const root = document.documentElement;

function isDark() {
  const chosen = root.dataset.theme;
  if (chosen) return chosen === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export function themeSwitch() {
  for (const form of document.querySelectorAll("form[data-theme-switch]"))
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      root.dataset.theme = isDark() ? "light" : "dark";
      const secure = location.protocol === "https:" ? "; Secure" : "";
      document.cookie = `garrison_theme=${root.dataset.theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
    });
}
