// SPDX-License-Identifier: Apache-2.0
// Sprites from words: what is asked for, how far it is, and what came of it. Jobs are found again after a reload.
"use strict";

const JOBS_SHOWN = 6;
const PREVIEWS = 8;
const OVER = new Set(["succeeded", "failed", "cancelled", "interrupted"]);
const STAGES = { load: "loading the model", encode: "reading the words", denoise: "drawing", decode: "drawing", matte: "cutting out", pixels: "making pixels", keep: "keeping" };
const jobList = byId("jobs");

const PLAIN = ["style", "model", "engine", "n", "steps", "guidance_scale", "negative_prompt", "frames", "motion"];

// The body of POST /v1/pixel/sprites.
function spriteRequest() {
  const body = { prompt: byId("prompt").value.trim(), previews: PREVIEWS, recipe: recipeOf(), loras: chosenLoras() };
  for (const name of PLAIN) body[name] = made(name);
  body.seed = made("make_seed");
  if (body.frames > 1) Object.assign(body, { frame_strength: made("frame_strength"), frame_ms: Number(byId("frame_ms").value) });
  if (made("base_size") !== undefined) [body.base_width, body.base_height] = made("base_size").split("x").map(Number);
  return { ...body, ...overBody() };
}

const MAKE_PLACES = { seed: "make_seed", image: "over" };

makeForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearErrors(makeForm);
  const button = makeForm.querySelector(".go");
  button.disabled = true;
  try {
    const job = await askJson("POST", "/v1/pixel/sprites", { body: spriteRequest() });
    showJob(job, { opens: true });
    announce("Asked for");
  } catch (error) {
    const recipe = error instanceof Refused && byId(error.field)?.closest("#recipe-form");
    tellError(error, "make", recipe ? {} : MAKE_PLACES);
    makeForm.querySelector("[aria-invalid='true']")?.focus();
  } finally {
    button.disabled = false;
  }
});
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) makeForm.requestSubmit();
});

// How much changes from frame to frame means something where there are several.
function fitFrames() {
  byId("frame_strength").disabled = !(made("frames") > 1);
}
byId("frames").addEventListener("input", fitFrames);
fitFrames();

// What a style suggests for the recipe is put into its form, where it can be seen and changed.
byId("style").addEventListener("change", (event) => {
  const suggests = JSON.parse(event.target.selectedOptions[0].dataset.suggests ?? "{}");
  if (Object.keys(suggests).length === 0) return;
  if (suggests.colors !== undefined && paletteMode() !== "") byId("palette").value = "";
  fillForm(suggests);
  drawSwatches();
  keepForm();
  convertSoon();
  announce(`Set with the style: ${Object.entries(suggests).map(([name, value]) => `${name} ${value}`).join(", ")}`);
});

// -- a job and its card

function cardOf(job) {
  const meter = element("progress", { className: "meter", max: 1, "aria-label": "Progress" });
  meter.removeAttribute("value");
  const cancel = element("button", { className: "quiet", type: "button", textContent: "Cancel" });
  cancel.addEventListener("click", () => cancelJob(job.id, cancel));
  const going = element("div", { className: "going" }, element("p", { className: "line" }), cancel, meter);
  const preview = element("img", { className: "job-preview", alt: "Preview of what is being drawn", hidden: true });
  const parts = element("div", { className: "sprite-parts" });
  const told = element("p", { className: "help told", hidden: true });
  return element("li", { className: "sprite-job", id: job.id }, element("h3", { textContent: job.title || "A sprite", dir: "auto" }), going, preview, parts, told);
}

function showJob(job, { opens = false, last = false } = {}) {
  byId("works").hidden = false;
  let card = byId(job.id);
  if (card === null) {
    card = cardOf(job);
    if (last) jobList.append(card);
    else jobList.prepend(card);
  }
  tellJob(card, job);
  if (!OVER.has(job.state)) follow(job.id, card, opens);
}

function waitWords(explanation) {
  const text = explanation?.reason?.text ?? explanation?.text ?? "";
  const place = explanation?.position === undefined ? "" : `Place ${explanation.position} in the queue. `;
  return place + text;
}

function tellJob(card, job) {
  const over = OVER.has(job.state);
  card.querySelector(".going").hidden = over;
  if (job.state === "queued" || job.state === "waiting") card.querySelector(".line").textContent = waitWords(job.explanation) || "Waiting";
  const parts = [...(job.result?.parts ?? [])].sort((a, b) => a.index - b.index);
  card.querySelector(".sprite-parts").replaceChildren(...parts.map((part) => partButton(part, job)));
  const told = card.querySelector(".told");
  const words = endWords(job, parts);
  told.textContent = words;
  told.hidden = words === "";
  if (over) card.querySelector(".job-preview").hidden = true;
}

function endWords(job, parts) {
  if (job.state === "failed") return [job.error?.message, job.error?.hint].filter(Boolean).join(" ");
  if (job.state === "cancelled") return parts.length > 0 ? "Cancelled; what was finished is kept." : "Cancelled.";
  if (job.state === "interrupted") return "The server stopped in the middle of it. Ask for it again.";
  if (job.state !== "succeeded") return "";
  const seconds = job.result.seconds < 10 ? plain(job.result.seconds) : Math.round(job.result.seconds);
  return `${job.result.engine} with ${job.result.model}, ${seconds} s, seed ${job.result.seeds.join(", ")}`;
}

function partButton(part, job) {
  const image = element("img", { src: `/v1/pictures/${part.picture_id}/file`, alt: `Sprite ${part.index + 1}, ${part.width} × ${part.height}` });
  const button = element("button", { type: "button", title: "Open" }, image);
  button.addEventListener("click", () => openPart(part, job));
  return button;
}

// The recipe on the page becomes the one that it was made by, so that what is opened is what was made. Where a
// part of a sprite was redrawn, that is one which keeps every pixel.
function openPart(part, { payload }) {
  if (part.durations_ms.length > 1) byId("frame_ms").value = part.durations_ms[0];
  const redrawn = payload.request.mask !== null;
  if (redrawn) fillRecipe({ width: part.width, height: part.height, grid: "off", palette: part.palette, colors: part.palette === null ? 0 : null });
  else fillRecipe(payload.recipe);
  openPicture(part.picture_id, { of: redrawn ? "file" : "drawing", keepsMask: true });
}

function tellProgress(card, { progress, stage, step, steps, estimate_s: left }) {
  if (progress > 0) card.querySelector(".meter").value = progress;
  const words = [STAGES[stage] ?? stage, steps > 1 ? `step ${step} of ${steps}` : "", left ? `about ${Math.ceil(left)} s left` : ""];
  const line = words.filter(Boolean).join(", ");
  card.querySelector(".line").textContent = line && line[0].toUpperCase() + line.slice(1);
}

// Follow a job by its events, until it is over; the browser asks again after a break by itself.
function follow(id, card, opens) {
  if (card.dataset.followed) return;
  card.dataset.followed = "yes";
  const stream = new EventSource(`/v1/jobs/${id}/events`);
  const heard = (act) => (event) => act(JSON.parse(event.data));
  const end = (job) => {
    tellJob(card, job);
    if (!OVER.has(job.state) || stream.readyState === EventSource.CLOSED) return;
    stream.close();
    announce(job.state === "succeeded" ? "The sprite is finished" : endWords(job, []));
    const first = job.result?.parts?.find((part) => part.index === 0);
    if (opens && job.state === "succeeded" && first) openPart(first, job);
  };
  stream.addEventListener("state", heard(end));
  stream.addEventListener("progress", heard((told) => tellProgress(card, told)));
  stream.addEventListener("wait", heard((told) => (card.querySelector(".line").textContent = waitWords(told))));
  stream.addEventListener("preview", heard(({ media_type: kind, b64 }) => {
    const image = card.querySelector(".job-preview");
    image.src = `data:${kind};base64,${b64}`;
    image.hidden = false;
  }));
  stream.addEventListener("open", foundConnection);
  stream.addEventListener("error", () => {
    // The stream ends with its job: whether it has, or the server is gone, tells the job itself.
    fetch(`/v1/jobs/${id}`).then(async (answer) => {
      if (answer.ok) end(await answer.json());
    }, lostConnection);
  });
}

async function cancelJob(id, button) {
  button.disabled = true;
  try {
    tellJob(byId(id), await askJson("POST", `/v1/jobs/${id}/cancel`));
  } catch (error) {
    if (error instanceof TypeError) tellError(error, "make");
    else tellJob(byId(id), await askJson("GET", `/v1/jobs/${id}`)); // it ended by itself a moment ago
  } finally {
    button.disabled = false;
  }
}

async function findJobs() {
  try {
    const found = await askJson("GET", `/v1/jobs?kind=sprite&limit=${JOBS_SHOWN}`);
    // What was asked for before this answer came stands on top, and is known better already.
    for (const job of found.data) if (byId(job.id) === null) showJob(job, { last: true });
  } catch (error) {
    tellError(error, "make");
  }
}
findJobs();
