// SPDX-License-Identifier: Apache-2.0
// Light or dark, before anything is painted: this one file is not deferred. Without a choice the system decides.
"use strict";

const THEME_KEY = "inglenook-theme";
const PAPER = { light: "#f8f3ec", dark: "#17110e" };
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

function chosenTheme() {
  try {
    const kept = localStorage.getItem(THEME_KEY);
    return kept === "light" || kept === "dark" ? kept : null;
  } catch {
    return null; // a browser that keeps nothing: the choice lasts as long as the page
  }
}

function shownTheme() {
  return document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light");
}

function applyTheme(theme) {
  if (theme === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const meta of document.querySelectorAll('meta[name="theme-color"]')) {
    meta.content = PAPER[theme ?? (meta.media.includes("dark") ? "dark" : "light")];
  }
}

function keepTheme(theme) {
  try {
    if (theme === null) localStorage.removeItem(THEME_KEY);
    else localStorage.setItem(THEME_KEY, theme);
  } catch {
    // as above
  }
}

applyTheme(chosenTheme());
window.addEventListener("storage", (event) => event.key === THEME_KEY && applyTheme(chosenTheme()));
