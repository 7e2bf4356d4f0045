// SPDX-License-Identifier: Apache-2.0
// What the pages of a project share: its address in the API, a job that is watched, dialogs, the row of parts.
"use strict";

const studioMain = document.querySelector("main[data-project]");
const projectId = studioMain?.dataset.project ?? "";

function apiOf(part, rest = "") {
  return `/api/${part}/${encodeURIComponent(projectId)}${rest}`;
}

// The data of an answer in the envelope.
async function askStudio(method, path, body) {
  return (await askApi(method, path, body))?.data;
}

// Follow a job by its events: `progress` gets {progress, stage, …}, `notice` a text, `ended` the job when it is over.
function watchJob(jobId, { progress = () => {}, notice = () => {}, ended = () => {} }) {
  const over = new Set(["succeeded", "failed", "cancelled", "interrupted"]);
  const source = new EventSource(`/v1/jobs/${encodeURIComponent(jobId)}/events`);
  const finish = (job) => {
    if (source.readyState === EventSource.CLOSED || !over.has(job.state)) return;
    source.close();
    ended(job);
  };
  source.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
  source.addEventListener("notice", (event) => notice(JSON.parse(event.data).text));
  source.addEventListener("state", (event) => finish(JSON.parse(event.data)));
  source.addEventListener("open", foundConnection);
  source.addEventListener("error", () => {
    // The stream ends with its job, and the browser would ask again: a lost server looks the same at first.
    fetch(`/v1/jobs/${encodeURIComponent(jobId)}`).then(async (answer) => {
      if (answer.ok) finish(await answer.json());
    }, lostConnection);
  });
  return source;
}

// The part that we are in is in sight on a phone.
const partHere = document.querySelector(".parts [aria-current]");
if (partHere) {
  const row = partHere.parentElement;
  row.scrollLeft += partHere.getBoundingClientRect().left - row.getBoundingClientRect().left - 40;
}

// Dialogs: `data-opens="id"` opens one, `data-close` in it closes it, a click beside it too.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens)?.showModal();
    return;
  }
  if (event.target.closest("dialog [data-close]")) event.target.closest("dialog").close();
  else if (event.target instanceof HTMLDialogElement && event.target.dataset.beside !== undefined) event.target.close();
});

// A fragment of the API: an element; or, of a refusal, its words.
function parseFragment(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content.firstElementChild;
}

function toastText(html) {
  const toast = parseFragment(html);
  return toast?.matches(".error-toast") ? toast.textContent : null;
}

// What the API refuses is told as trouble, not put where its answer would have gone.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status < 400) return;
  const words = toastText(event.detail.xhr.responseText);
  if (words === null) return;
  event.detail.shouldSwap = false;
  tellTrouble(words);
});
