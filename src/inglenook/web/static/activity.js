// SPDX-License-Identifier: Apache-2.0
// What the machine does, as it happens: the stream writes only what has changed; buttons ask the API.
"use strict";

const activityRoom = document.querySelector("main[data-stream]");
const jobRows = () => document.getElementById("job-rows");
let connectedBefore = false;

// The focus stays where it was, also when the button under it was written anew.
function rewrite(place, html) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.innerHTML = html;
  localTimes(place);
  htmx.process(place);
  if (focused) document.getElementById(focused)?.focus();
}

function showJob(html) {
  const fresh = parseElement(html);
  const present = document.getElementById(fresh.id);
  if (present !== null && Number(fresh.dataset.seq) < Number(present.dataset.seq)) return;
  const hadFocus = present?.contains(document.activeElement) ?? false;
  if (present === null) jobRows().prepend(fresh);
  else present.replaceWith(fresh);
  localTimes(fresh);
  if (hadFocus) fresh.querySelector("a, button")?.focus();
}

function showProgress({ job, percent, line }) {
  const row = document.getElementById(job);
  const bar = row?.querySelector("[data-progress]");
  if (!bar) return;
  bar.value = percent;
  bar.textContent = `${percent} %`;
  row.querySelector("[data-line]").textContent = line;
}

function showWait({ job, line, detail }) {
  const row = document.getElementById(job);
  if (row === null || row.querySelector("[data-line]") === null) return;
  row.querySelector("[data-line]").textContent = line;
  row.querySelector("[data-detail]").textContent = detail;
}

function streamAddress() {
  const address = new URL(activityRoom.dataset.stream, window.location.href);
  if (connectedBefore) address.searchParams.set("again", "true");
  connectedBefore = true;
  return address.pathname + address.search;
}

new LiveStream(streamAddress, {
  ...Object.fromEntries(
    ["devices", "residents", "queue", "recent"].map((part) => [
      part,
      (html) => rewrite(document.getElementById(`now-${part}`), html),
    ]),
  ),
  job: showJob,
  jobs: (html) => {
    jobRows().outerHTML = html;
    localTimes(jobRows());
    htmx.process(jobRows());
  },
  gone: (data) => document.getElementById(JSON.parse(data).job)?.remove(),
  progress: (data) => showProgress(JSON.parse(data)),
  wait: (data) => showWait(JSON.parse(data)),
}).start();

// What can be done

async function ask(button, path, done) {
  button.disabled = true;
  try {
    const answer = await fetch(path, { method: "POST" });
    const said = await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(said?.error?.message ?? `The server refused this (status ${answer.status}).`);
    announce(done);
    if (button.dataset.retry !== undefined) button.disabled = false; // its row stays, and may be asked again
  } catch (error) {
    tellTrouble(error instanceof TypeError ? "The server did not answer; try again when it is back." : error.message);
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-unload], [data-cancel], [data-retry]");
  if (button === null) return;
  const { unload, cancel, retry, model } = button.dataset;
  if (unload !== undefined) ask(button, `/v1/runtime/residents/${unload}/unload`, `${model} is being unloaded`);
  if (cancel !== undefined) ask(button, `/v1/jobs/${cancel}/cancel`, "The job was cancelled");
  if (retry !== undefined) ask(button, `/v1/jobs/${retry}/retry`, "The job is in line again");
});
