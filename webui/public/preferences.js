// Runs before the first paint so that a chosen theme or language never flashes. A file of its own because the
// Content-Security-Policy forbids inline scripts.
(() => {
  const root = document.documentElement;
  let theme = null;
  let lang = null;
  try {
    theme = localStorage.getItem("stc.theme");
    lang = localStorage.getItem("stc.lang");
  } catch {
    // Storage can be switched off; the system's theme and the browser's language hold then.
  }
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  root.lang = lang === "en" || lang === "ja" ? lang : navigator.language.startsWith("ja") ? "ja" : "en";
})();
