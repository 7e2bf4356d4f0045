// SPDX-License-Identifier: Apache-2.0
// The open conversation, the list of all, and what can be done with one: rename, pin, archive, delete, take along.
"use strict";

const room = document.getElementById("content");
const byId = (id) => document.getElementById(id);
const talk = { id: room.dataset.conversation };
const SERVER_SILENT = "The server did not answer. What you wrote is still here; try again when it is back.";

class Refused extends Error {}

// Ask our API. Raises Refused with the server's words, or TypeError where it does not answer.
async function api(method, path, body) {
  const options = { method, headers: {} };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  return said(await fetch(path, options));
}

async function said(answer) {
  const told = await answer.json().catch(() => null);
  if (answer.ok) return told;
  throw new Refused(told?.error?.message ?? `The server refused this (status ${answer.status}).`);
}

const words = (error) => (error instanceof Refused ? error.message : SERVER_SILENT);

// Do something, and tell where it did not work; undefined then.
async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
    tellTrouble(words(error));
    return undefined;
  }
}

const conversationPath = (rest = "") => `/v1/conversations/${talk.id}${rest}`;

// -- the open one

// From now on this page is about the conversation.
function openTalk(conversation) {
  talk.id = conversation.id;
  room.dataset.conversation = talk.id;
  history.pushState({}, "", `/chat/${talk.id}`);
  byId("talk-acts").hidden = false;
  for (const link of document.querySelectorAll("[data-export]")) {
    link.href = conversationPath(link.dataset.export === "markdown" ? "/export?format=markdown" : "/export");
  }
  stream.open();
}

function showTitle(title) {
  const shown = title || "New conversation";
  byId("talk-title").textContent = shown;
  document.title = `${shown} · Chat · Inglenook`;
}

let threadsAsked = 0;
let threadShown = 0; // which of them; one that is overtaken by a later one is dropped
let threadWaits = false; // there is news, but a message is being edited

const isEditing = () => document.querySelector("#thread .editing") !== null;

// The messages as the server has them. The focus stays on the same control of the same message. An answer that is
// written into them meanwhile stays: its end shows them anew. keepEdit: so does a message that is being edited.
async function showThread({ keepEdit = false } = {}) {
  if (!talk.id) return;
  const [id, mine] = [talk.id, ++threadsAsked];
  const answer = await fetch(`/chat/${id}/thread`, { headers: { "hx-request": "true" } });
  if (!answer.ok) throw new Refused(`The messages could not be read (status ${answer.status}).`);
  const fresh = parseThread(await answer.text());
  if (id !== talk.id || mine < threadShown || isWriting()) return;
  threadWaits = keepEdit && isEditing();
  if (threadWaits) return;
  threadShown = mine;
  const focus = focusIn(byId("thread"));
  byId("thread").replaceWith(fresh);
  dressThread();
  showTitle(fresh.dataset.title);
  focus();
}

function parseThread(html) {
  const template = document.createElement("template");
  template.innerHTML = html; // the server's own, escaped where it came from
  return template.content.querySelector("#thread");
}

// What puts the focus back where it was, or on its message's brother, or on the field for the next one.
function focusIn(thread) {
  const at = document.activeElement;
  if (!thread.contains(at)) return () => {};
  const message = at.closest("[data-message]");
  const place = [...thread.children].indexOf(message);
  const act = [...at.attributes].find((it) => it.name.startsWith("data-"))?.name;
  return () => {
    const again = byId(message?.id) ?? byId("thread").children[place];
    const control = act && again?.querySelector(`[${act}]:not(:disabled)`);
    (control || again?.querySelector(".branches button:not(:disabled)") || byId("message")).focus();
  };
}

// -- the list

async function showList() {
  const form = byId("talk-search");
  const asked = new URLSearchParams(new FormData(form));
  if (talk.id) asked.set("open", talk.id);
  form.setAttribute("hx-vals", JSON.stringify({ open: talk.id }));
  const html = await fetch(`/chat/list?${asked}`, { headers: { "hx-request": "true" } })
    .then((answer) => (answer.ok ? answer.text() : null))
    .catch(() => null);
  if (html === null) return; // what stands there is the last that is known
  byId("talks").outerHTML = html;
  htmx.process(byId("talks"));
}

function toggleList(open) {
  room.classList.toggle("list-open", open);
  document.querySelector(".talks-open").setAttribute("aria-expanded", String(open));
  if (open) byId("talk-words").focus();
}

// -- a note that something was done, with a way back

let undo = null;

function tellDone(text, back) {
  const toast = byId("toast");
  toast.querySelector("p").textContent = text;
  toast.querySelector("[data-undo]").hidden = back === null;
  toast.hidden = false;
  undo = back;
}

// -- what can be done

async function change(values) {
  const now = await attempt(() => api("PATCH", conversationPath(), values));
  if (now !== undefined) await showList();
  return now;
}

function renaming(on) {
  byId("rename").hidden = !on;
  byId("talk-title").hidden = on;
  if (on) {
    byId("new-title").value = byId("talk-title").textContent;
    byId("new-title").select();
  } else document.querySelector("[data-rename]").focus();
}

byId("rename").addEventListener("submit", async (event) => {
  event.preventDefault();
  const now = await change({ title: byId("new-title").value });
  if (now === undefined) return;
  showTitle(now.title);
  renaming(false);
});
byId("rename").addEventListener("keydown", (event) => event.key === "Escape" && renaming(false));

async function toggle(button, name, on, off) {
  const wanted = button.getAttribute("aria-pressed") !== "true";
  if ((await change({ [name]: wanted })) === undefined) return;
  button.setAttribute("aria-pressed", String(wanted));
  announce(wanted ? on : off);
}

async function throwAway() {
  const gone = talk.id;
  stream.close(); // it would tell that somebody else has done this
  if ((await attempt(() => api("DELETE", conversationPath()))) === undefined) return stream.open();
  newTalk();
  await showList();
  tellDone("The conversation lies in the trash.", async () => {
    await attempt(() => api("POST", `/v1/conversations/${gone}/restore`));
    window.location.assign(`/chat/${gone}`);
  });
}

function newTalk() {
  talk.id = "";
  room.dataset.conversation = "";
  history.pushState({}, "", "/chat");
  byId("thread").replaceChildren();
  byId("thread").dataset.last = "";
  byId("empty").hidden = false;
  byId("failed").hidden = true;
  byId("talk-acts").hidden = true;
  showTitle("");
  stream.open();
  byId("message").focus();
}

async function bringBack(file) {
  const body = new FormData();
  body.append("file", file);
  const brought = await attempt(() => api("POST", "/v1/conversations/import", body));
  if (brought === undefined) return;
  await showList();
  const many = brought.data.length;
  tellDone(many === 1 ? "One conversation was imported." : `${many} conversations were imported.`, null);
}

async function restore(id) {
  if ((await attempt(() => api("POST", `/v1/conversations/${id}/restore`))) === undefined) return;
  await showList();
  announce("The conversation is back");
}

async function forget(id) {
  if ((await attempt(() => api("DELETE", `/v1/conversations/${id}?forever=true`))) === undefined) return;
  await showList();
  announce("The conversation is gone");
}

byId("import-file").addEventListener("change", async (event) => {
  if (event.target.files.length > 0) await bringBack(event.target.files[0]);
  event.target.value = "";
});

document.addEventListener("click", (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on("[data-list]")) toggleList(!room.classList.contains("list-open"));
  else if (on("[data-rename]")) renaming(true);
  else if (on("[data-rename-away]")) renaming(false);
  else if (on("[data-pin]")) toggle(on("[data-pin]"), "pinned", "Pinned", "No longer pinned");
  else if (on("[data-archive]")) toggle(on("[data-archive]"), "archived", "Archived", "No longer archived");
  else if (on("[data-delete]")) throwAway();
  else if (on("[data-import]")) byId("import-file").click();
  else if (on("[data-restore]")) restore(on("[data-restore]").dataset.restore);
  else if (on("[data-forever]")) sureToForget(on("[data-forever]"));
  else if (on("[data-undo]")) {
    byId("toast").hidden = true;
    undo?.();
  } else if (on("[data-toast-away]")) byId("toast").hidden = true;
});

// The first press asks, the second one does it.
function sureToForget(button) {
  if (button.dataset.sure === "yes") {
    forget(button.dataset.forever);
    return;
  }
  button.dataset.sure = "yes";
  button.classList.add("bad");
  button.append("Sure?");
  button.addEventListener("blur", () => showList(), { once: true });
}

window.addEventListener("popstate", () => window.location.reload());

// -- news

function streamAddress() {
  return talk.id ? `/chat/stream?conversation=${talk.id}` : "/chat/stream";
}

const stream = new LiveStream(streamAddress, {
  models: (data) => showModels(JSON.parse(data)),
  changed: async (data) => {
    const now = JSON.parse(data);
    showTitle(now.title);
    if (now.updated_at === byId("thread").dataset.version || isWriting()) return;
    await attempt(() => showThread({ keepEdit: true }));
    await showList();
  },
  gone: () => tellTrouble("This conversation was thrown away in another page. The trash still has it."),
});
