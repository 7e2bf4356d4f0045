// SPDX-License-Identifier: Apache-2.0
// The logs as they grow, of one process or of all, with a search. Paused, they wait, and nothing is lost.
"use strict";

const LINES = 2000;
const SERVER_CHILD = "server";
const logFilters = document.getElementById("log-filters");
const logList = document.getElementById("log");
const logSearch = document.getElementById("log-search");
const logChild = document.getElementById("log-child");
const logLevel = document.getElementById("log-level");
const logPause = document.getElementById("log-pause");
const logNone = document.getElementById("log-none");
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const LEVELS = ["debug", "info", "warning", "error"];
let lines = []; // all that are kept here, oldest first; what is shown of them is the filters' business
let lastLine = 0;
let waiting = 0;

const isPaused = () => logPause.getAttribute("aria-pressed") === "true";

function fits({ level, child, text }) {
  if (LEVELS.indexOf(level) < LEVELS.indexOf(logLevel.value)) return false;
  const who = child ?? SERVER_CHILD;
  if (logChild.value !== "" && logChild.value !== who) return false;
  return `${who} ${text}`.toLowerCase().includes(logSearch.value.trim().toLowerCase());
}

function cell(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

// Workers put their name before each line, and it stands in a column of its own already.
const withoutName = ({ child, text }) => (text.startsWith(`${child}: `) ? text.slice(child.length + 2) : text);

// The text with every place that was searched for marked.
function marked(text) {
  const made = document.createElement("span");
  const wanted = logSearch.value.trim().toLowerCase();
  let at = 0;
  for (let found = wanted ? text.toLowerCase().indexOf(wanted) : -1; found >= 0; ) {
    made.append(text.slice(at, found), cell("mark", "", text.slice(found, found + wanted.length)));
    at = found + wanted.length;
    found = text.toLowerCase().indexOf(wanted, at);
  }
  made.append(text.slice(at));
  return made;
}

function item(line) {
  const made = document.createElement("li");
  made.className = `log-line log-${line.level}`;
  const time = cell("time", "", CLOCK.format(new Date(line.when)));
  time.dateTime = line.when;
  const child = cell("span", "log-child", line.child ?? SERVER_CHILD);
  child.title = child.textContent;
  made.append(time, cell("span", "log-level", line.level), child, marked(withoutName(line)));
  return made;
}

function show() {
  logList.replaceChildren(...lines.filter(fits).map(item));
  logNone.hidden = logList.childElementCount > 0;
  logList.scrollTop = logList.scrollHeight;
}

function add(line) {
  const atEnd = logList.scrollHeight - logList.scrollTop - logList.clientHeight < 40;
  if (fits(line)) logList.append(item(line));
  while (logList.childElementCount > LINES) logList.firstElementChild.remove();
  logNone.hidden = logList.childElementCount > 0;
  if (atEnd) logList.scrollTop = logList.scrollHeight;
}

function know(child) {
  if ([...logChild.options].some((one) => one.value === child)) return;
  logChild.append(new Option(child, child));
}

const stream = new LiveStream(() => `/v1/runtime/log/events?last_event_id=${lastLine}`, {
  line: (data) => {
    const line = JSON.parse(data);
    lastLine = line.number;
    lines.push(line);
    if (lines.length > LINES) lines.shift();
    if (line.child !== null) know(line.child);
    if (!isPaused()) add(line);
    else logPause.textContent = `Go on (${++waiting})`;
  },
});

logPause.addEventListener("click", () => {
  const paused = !isPaused();
  logPause.setAttribute("aria-pressed", String(paused));
  logPause.textContent = paused ? "Go on" : "Pause";
  waiting = 0;
  if (!paused) show();
});

// What is looked for stands in the address, so that it can be kept and sent on.
function narrow() {
  const asked = new URLSearchParams([...new FormData(logFilters)].filter(([, value]) => value !== "" && value !== "info"));
  history.replaceState(null, "", asked.size > 0 ? `/logs?${asked}` : "/logs");
  show();
}
logFilters.addEventListener("input", narrow);
logFilters.addEventListener("submit", (event) => {
  event.preventDefault();
  narrow();
});

logList.replaceChildren(); // the stream brings them again, with what has come since
stream.start();
