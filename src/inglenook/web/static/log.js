// SPDX-License-Identifier: Apache-2.0
// The log as it grows. It follows its end as long as the end is looked at; paused, it waits, and nothing is lost.
"use strict";

const LINES = 500;
const logList = document.getElementById("log");
const logLevel = document.getElementById("log-level");
const logPause = document.getElementById("log-pause");
const LOG_PLACE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
let lastLine = 0;
let waitingLines = [];

const isPaused = () => logPause.getAttribute("aria-pressed") === "true";

const logStream = new LiveStream(() => `/v1/runtime/log/events?level=${logLevel.value}&last_event_id=${lastLine}`, {
  line: (data) => {
    const line = JSON.parse(data);
    lastLine = line.number;
    waitingLines.push(line);
    if (waitingLines.length > LINES) waitingLines.shift();
    if (!isPaused()) showLines();
    else logPause.textContent = `Go on (${waitingLines.length})`;
  },
});

function showLines() {
  const atEnd = logList.scrollHeight - logList.scrollTop - logList.clientHeight < 40;
  logList.append(...waitingLines.map(lineItem));
  waitingLines = [];
  while (logList.childElementCount > LINES) logList.firstElementChild.remove();
  if (atEnd) logList.scrollTop = logList.scrollHeight;
}

function lineItem({ when, level, source, text }) {
  const item = document.createElement("li");
  item.className = `log-line log-${level}`;
  const time = document.createElement("time");
  time.dateTime = when;
  time.textContent = LOG_PLACE.format(new Date(when));
  const kind = document.createElement("span");
  kind.className = "log-level";
  kind.textContent = level;
  const said = document.createElement("span");
  said.textContent = text;
  said.title = source;
  item.append(time, kind, said);
  return item;
}

logPause.addEventListener("click", () => {
  const paused = !isPaused();
  logPause.setAttribute("aria-pressed", String(paused));
  logPause.textContent = paused ? "Go on" : "Pause";
  if (!paused) showLines();
});

// Another level is another list, from its beginning.
logLevel.addEventListener("change", () => {
  logList.replaceChildren();
  waitingLines = [];
  lastLine = 0;
  logStream.open();
});

logStream.start();
