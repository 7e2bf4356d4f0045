// SPDX-License-Identifier: Apache-2.0
// The messages: shown as Markdown, copied, edited, answered again; one branch or another.
"use strict";

// The plain texts that the server sent, as they are shown.
function dressThread() {
  for (const place of document.querySelectorAll("#thread .md:not(.is-shown)")) {
    place.written = place.textContent;
    showMarkdown(place, place.written);
  }
  byId("empty").hidden = byId("thread").children.length > 0;
}

const messageOf = (element) => element.closest("[data-message]");
const textsOf = (message) =>
  [...message.querySelectorAll("[data-text]")].map((it) => it.written ?? it.textContent).join("\n\n");

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
    button.classList.add("is-copied");
    setTimeout(() => button.classList.remove("is-copied"), 1500);
  } catch {
    tellTrouble("The browser does not let this page copy. Mark the text and copy it by hand.");
  }
}

async function showBranch(message) {
  const now = await attempt(() => api("PATCH", conversationPath(), { shown: message }));
  if (now === undefined) return;
  await attempt(showThread);
  const place = byId(message)?.querySelector(".branches span")?.textContent.replace("/", " of ");
  if (place) announce(`Version ${place}`);
}

// -- editing: what is sent is a brother of what was there

function edit(message) {
  const parts = message.querySelector(".said-parts");
  if (parts.querySelector(".editing") !== null) return;
  const form = document.createElement("form");
  form.className = "editing";
  const field = document.createElement("textarea");
  field.value = textsOf(message);
  field.rows = Math.min(12, field.value.split("\n").length + 1);
  field.dir = "auto";
  field.setAttribute("aria-label", "Your message, edited");
  const send = document.createElement("button");
  send.className = "button";
  send.textContent = "Send";
  const away = document.createElement("button");
  away.type = "button";
  away.className = "quiet";
  away.textContent = "Leave as it was";
  form.append(field, send, away);
  const close = () => {
    form.remove();
    message.classList.remove("is-edited");
    message.querySelector("[data-edit]").focus();
    if (threadWaits) attempt(showThread);
  };
  away.addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isWriting()) return;
    const content = [...JSON.parse(message.dataset.pictures || "[]"), { type: "text", text: field.value }];
    if (await say(content, message.dataset.parent || null)) byId("message").focus();
  });
  message.classList.add("is-edited");
  parts.append(form);
  field.focus();
}

document.addEventListener("click", async (event) => {
  const on = (selector) => event.target.closest(selector);
  const button = event.target.closest("button");
  if (button === null) return;
  if (on("[data-copy]")) copyText(textsOf(messageOf(button)), button);
  else if (on("[data-copy-code]")) copyText(button.closest(".code").querySelector("code").textContent, button);
  else if (on("[data-show]")) showBranch(button.dataset.show);
  else if (on("[data-edit]")) edit(messageOf(button));
  else if (on("[data-retry]")) answer(messageOf(button).dataset.parent);
  else if (on("[data-answer]")) answer(messageOf(button).id);
  else if (on("[data-stop-this]")) {
    await attempt(() => api("POST", conversationPath(`/messages/${messageOf(button).id}/stop`)));
    await attempt(showThread);
  }
});

dressThread();
