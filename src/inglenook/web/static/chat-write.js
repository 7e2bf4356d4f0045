// SPDX-License-Identifier: Apache-2.0
// Saying something, and following the answer as it is written.
"use strict";

const composer = byId("composer");
const messageField = byId("message");
const DRAWN_EVERY_MS = 80; // how often a text that comes is shown anew
const FOLLOWS_PX = 120; // whoever is that near to the end stays at the end

let writing = null; // the answer that this page follows
let unanswered = ""; // the message whose answer did not come
let saying = false; // pressed twice, a message is said once
const isWriting = () => writing !== null;

function grow() {
  messageField.style.height = "auto";
  messageField.style.height = `${Math.min(messageField.scrollHeight + 2, window.innerHeight * 0.4)}px`;
}

// -- saying

async function send() {
  const text = messageField.value;
  const content = [...givenParts(), ...(text.trim() ? [{ type: "text", text }] : [])];
  if (content.length === 0 || isWriting()) return;
  const last = byId("thread").dataset;
  const parent = last.lastMine === "yes" ? messageOf(byId(last.last)).dataset.parent || null : last.last || null;
  if (!(await say(content, parent))) return;
  messageField.focus();
}

// Say something after an answer (null: as a beginning), and have it answered. False: it could not be said.
async function say(content, parent) {
  if (saying) return false;
  byId("failed").hidden = true;
  const settings = settingsNow();
  if (settings === null) return false;
  saying = true;
  const message = await attempt(async () => {
    if (!talk.id) openTalk(await api("POST", "/v1/conversations", settings));
    const kept = await api("POST", conversationPath("/messages"), { content, parent });
    await showThread();
    return kept;
  }).finally(() => (saying = false));
  if (message === undefined) return false;
  messageField.value = "";
  grow();
  given.replaceChildren();
  if (!isWide()) openSettings(false); // they would cover the answer
  toEnd();
  answer(message.id);
  showList();
  return true;
}

// -- following

async function answer(message) {
  if (isWriting()) return;
  unanswered = message;
  byId("failed").hidden = true;
  writing = new Writing();
  showBusy(true);
  let problem = "";
  try {
    await writing.follow(message);
  } catch (error) {
    if (error.name !== "AbortError") problem = words(error);
  }
  const ended = writing;
  writing = null;
  ended.leave();
  showBusy(false);
  await settle(ended, problem);
}

// The end: the thread as the server keeps it, or what went wrong and a way to try again.
async function settle(ended, problem) {
  const near = isNearEnd();
  const lost = problem === SERVER_SILENT || (ended.record === null && problem === "");
  try {
    await showThread({ keepEdit: true });
    if (threadWaits) ended.keep();
  } catch {
    ended.keep(); // what was said stays on the page
  }
  if (problem !== "" || lost) {
    byId("failed").querySelector("p").textContent = lost ? "The connection was lost. What was said so far is kept." : problem;
    byId("failed").hidden = false;
  }
  if (near) toEnd();
  ended.announceEnd();
  showList();
}

class Writing {
  constructor() {
    this.abort = new AbortController();
    this.record = null; // at the end
    this.message = ""; // its id
    this.text = "";
    this.thought = "";
    this.place = byId("live").content.firstElementChild.cloneNode(true);
    this.timer = 0;
    this.stopping = false;
  }

  async follow(message) {
    await keeping; // what was set a moment ago counts for this answer
    const model = modelField.value;
    const reply = await fetch(conversationPath("/answers"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ message, model }),
      signal: this.abort.signal,
    });
    if (!reply.ok) await said(reply);
    this.begin(message);
    for await (const { event, data } of eventsOf(reply.body)) this.hear(event, JSON.parse(data));
    if (this.record === null) throw new TypeError("the stream ended early");
  }

  // Another answer to a message takes the place of what was there, with all that followed.
  begin(message) {
    const asked = byId(message);
    while (asked !== null && asked.nextElementSibling !== null) asked.nextElementSibling.remove();
    this.place.querySelector(".said-who").textContent = chosen()?.dataset.title ?? "Model";
    byId("thread").append(this.place);
    byId("empty").hidden = true;
    toEnd();
    announce("The answer begins");
  }

  hear(event, data) {
    if (event === "message") {
      this.message = data.id;
      this.place.id = data.id;
      if (this.stopping) stopAnswer();
    } else if (event === "wait") showWait(data);
    else if (event === "text") {
      this.text += data;
      this.soon();
    } else if (event === "reasoning") {
      this.thought += data;
      this.soon();
    } else if (event === "tool") this.tool(data);
    else if (event === "speed") this.facts(`${data.tokens} tokens · ${data.per_second.toFixed(1)} tokens/s`);
    else if (event === "done") this.record = data;
  }

  part(name) {
    return this.place.querySelector(`.said-parts > [data-live="${name}"]`);
  }

  soon() {
    if (this.timer === 0) this.timer = setTimeout(() => this.draw(), DRAWN_EVERY_MS);
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const near = isNearEnd();
    if (this.thought !== "") showMarkdown(this.thoughtPlace(), this.thought, false);
    if (this.text !== "") {
      const place = this.part("text") ?? this.add(mdElement("div", [], "md"), "text");
      place.dir = "auto";
      place.written = this.text;
      place.dataset.text = "";
      showMarkdown(place, this.text, false);
    }
    if (near) toEnd();
  }

  add(element, name) {
    element.dataset.live = name;
    this.place.querySelector(".said-parts").append(element);
    return element;
  }

  thoughtPlace() {
    const known = this.part("thought");
    if (known !== null) return known.lastElementChild;
    const fold = mdElement("details", [mdElement("summary", ["Reasoning"]), mdElement("div", [], "md")], "thought");
    return this.add(fold, "thought").lastElementChild;
  }

  // What is said after a tool was called is another text.
  tool(call) {
    this.draw();
    for (const name of ["text", "thought"]) this.part(name)?.removeAttribute("data-live");
    this.text = "";
    this.thought = "";
    const line = this.part(call.id) ?? this.add(mdElement("p", [], "tool"), call.id);
    let asked = call.arguments;
    try {
      asked = JSON.parse(call.arguments).prompt ?? asked;
    } catch {
      // as it was written
    }
    line.textContent = `${call.name === "edit_image" ? "Changes a picture" : "Draws"}: ${asked}`;
    if (call.failed) line.append(` ${call.result}`);
    for (const picture of call.pictures ?? []) {
      const image = mdElement("img");
      image.src = `/v1/pictures/${picture}/thumbnail`;
      image.alt = String(asked);
      const link = mdElement("a", [image]);
      link.href = `/pictures/${picture}`;
      this.add(mdElement("div", [link], "said-pictures"), picture);
      announce("A picture was drawn");
    }
  }

  facts(text) {
    this.place.querySelector(".said-facts").textContent = text;
  }

  leave() {
    clearTimeout(this.timer);
    showWait(null);
  }

  // Where the thread cannot be had: what came stays, whole.
  keep() {
    this.draw();
    for (const place of this.place.querySelectorAll(".md")) if (place.written) showMarkdown(place, place.written);
  }

  announceEnd() {
    const record = this.record;
    if (record === null) return;
    const text = record.parts.filter((part) => part.type === "text").map((part) => part.text).join(" ");
    if (record.state === "failed") announce(`The answer failed: ${record.error?.message ?? ""}`);
    else announce(`${record.state === "stopped" ? "Stopped" : "Answer"}: ${text.slice(0, 600)}`);
  }
}

// Server-sent events of an answer to a POST.
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const event = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (event !== undefined) yield { event, data: data.join("\n") };
    }
  }
}

// -- waiting, said truly

function about(seconds) {
  if (seconds < 1) return "less than a second";
  return seconds < 60 ? `about ${Math.round(seconds)} s` : `about ${Math.round(seconds / 60)} min`;
}

function waitWords(wait) {
  if (wait.drawing) return `Drawing: ${Math.floor((wait.progress ?? 0) * 100)} %`;
  const reason = String(wait.reason?.text ?? "").replace(/\.$/, "");
  const place = wait.position > 1 ? `Place ${wait.position} of ${wait.waiting}` : "";
  const left = wait.estimate_s == null ? "" : wait.estimate_s < 1 ? "begins soon" : `begins in ${about(wait.estimate_s)}`;
  return [place, reason, left].filter(Boolean).join(" · ");
}

function showWait(wait) {
  const line = byId("wait");
  const text = wait === null ? "" : waitWords(wait);
  if (line.textContent !== text) line.textContent = text;
  line.hidden = text === "";
}

// -- stopping

async function stopAnswer() {
  if (writing === null) return;
  writing.stopping = true;
  if (writing.message === "") return; // as soon as it has a name
  try {
    await api("POST", conversationPath(`/messages/${writing.message}/stop`));
  } catch {
    writing?.abort.abort(); // leaving stops it too
  }
}

function showBusy(busy) {
  const hadFocus = [byId("send"), byId("stop")].includes(document.activeElement);
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
  document.body.classList.toggle("is-burning", busy);
  if (hadFocus) (busy ? byId("stop") : messageField).focus();
}

// -- the end of the page

const isNearEnd = () => window.innerHeight + window.scrollY > document.documentElement.scrollHeight - FOLLOWS_PX;
const isWide = () => window.matchMedia("(min-width: 46rem)").matches;
const toEnd = () => window.scrollTo({ top: document.documentElement.scrollHeight });

// -- controls

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
messageField.addEventListener("input", grow);
messageField.addEventListener("input", () => window.marked ?? fetchScript("lexer").catch(() => {}), { once: true });
messageField.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  if (isWriting() && !byId("shelf").open) stopAnswer();
  else if (room.classList.contains("list-open")) toggleList(false);
  else if (!byId("settings").hidden) openSettings(false);
});
document.addEventListener("click", (event) => {
  if (event.target.closest("#stop")) stopAnswer();
  if (event.target.closest("[data-again]") && unanswered) answer(unanswered);
  const link = event.target.closest("[data-new]");
  if (link !== null && !event.ctrlKey && !event.metaKey && !isWriting()) {
    event.preventDefault();
    newTalk();
    toggleList(false);
    showList();
  }
});

stream.start();
if (byId("thread").children.length > 0) toEnd();
if (isWide()) messageField.focus({ preventScroll: true });
