// SPDX-License-Identifier: Apache-2.0
// Bringing pictures in: what is dropped or chosen goes to the API, and the job that takes it is followed.
"use strict";

const importRoom = document.getElementById("import");
const course = document.getElementById("dataset-import-indicator");
const courseBar = course.querySelector("progress");
const MOST_FILES = 20_000; // the server's own limit
const MOST_SKIPPED = 20;

const field = (id) => document.getElementById(id);
const one = (name) => course.querySelector(`[data-course-${name}]`);
let stopIt = () => {};

// What all ways say beside their pictures.
function howAll() {
  const how = { mode: importRoom.querySelector('[name="mode"]:checked').value };
  if (field("source_format").value !== "") how.source_format = field("source_format").value;
  if (field("keep-duplicates").checked) how.keep_duplicates = true;
  return how;
}

async function sure() {
  const replace = importRoom.querySelector('[name="mode"][value="replace"]');
  if (!replace.checked || replace.dataset.there === undefined) return true;
  return askSure(`Replace the ${countWords(Number(replace.dataset.there), "picture", "pictures")} that are there? Earlier versions keep them.`, "Replace");
}

// The course of an import

function showCourse(title, line) {
  course.hidden = false;
  importRoom.querySelector("[data-import-choice]").hidden = true;
  one("title").textContent = title;
  one("line").textContent = line;
  one("notes").replaceChildren();
  one("end").replaceChildren();
  one("stop").hidden = false;
  courseBar.hidden = false;
  courseBar.removeAttribute("value");
  course.scrollIntoView({ block: "nearest" });
}

function showChoice() {
  importRoom.querySelector("[data-import-choice]").hidden = false;
}

const STAGES = { start: "Looking at what came", list: "Listing the files", read: "Reading pictures", keep: "Keeping the pictures" };

function showProgress({ progress, stage, done, total, taken, skipped }) {
  if (progress > 0) courseBar.value = 100 * progress;
  const words = [STAGES[stage] ?? "Reading"];
  if (total) words.push(`${done.toLocaleString()} of ${total.toLocaleString()}`);
  if (taken) words.push(`${taken.toLocaleString()} taken`);
  if (skipped) words.push(`${skipped.toLocaleString()} left out`);
  one("line").textContent = words.join(" · ");
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function follow(jobId) {
  importRoom.dataset.job = jobId;
  showCourse("Import", "Waiting…");
  stopIt = () => askApi("POST", `/v1/jobs/${jobId}/cancel`).catch(() => {});
  watchJob(jobId, {
    progress: showProgress,
    notice: (text) => one("notes").append(element("li", text)),
    ended: showEnd,
  });
}

function showEnd(job) {
  delete importRoom.dataset.job;
  courseBar.hidden = true;
  one("stop").hidden = true;
  one("line").textContent = "";
  const end = one("end");
  if (job.state === "succeeded") {
    const told = job.result;
    one("title").textContent = told.version === null ? "Everything was there already" : `${countWords(told.imported, "picture", "pictures")} imported`;
    if (told.skipped || told.remarks) end.append(...reasons(job.id, told));
  } else {
    const error = job.error;
    one("title").textContent = job.state === "cancelled" ? "The import was stopped; nothing has changed" : "The import did not work";
    if (error) end.append(element("p", `${error.message} ${error.hint ? `${error.hint[0].toUpperCase()}${error.hint.slice(1)}.` : ""}`));
  }
  const ways = element("p", "", { class: "row" });
  if (job.state === "succeeded") document.getElementById("dataset-image-list")?.remove(); // it says that there are none
  if (job.state === "succeeded") ways.append(element("a", "See the pictures", { class: "go", href: `/projects/${projectId}/dataset` }));
  const again = element("button", job.state === "succeeded" ? "Import more" : "Try again", { class: "button", type: "button" });
  again.addEventListener("click", () => {
    course.hidden = true;
    showChoice();
    importRoom.querySelector("[data-choose]").focus();
  });
  ways.append(again);
  end.append(ways);
  ways.firstElementChild.focus({ preventScroll: true });
  announce(one("title").textContent);
}

// What was left out, why, and the whole report.
function reasons(jobId, told) {
  const parts = [];
  if (told.skipped) parts.push(element("p", `${countWords(told.skipped, "file was", "files were")} left out:`));
  const list = element("ul", "", { class: "reasons" });
  for (const [reason, { count, example }] of Object.entries({ ...told.by_reason, ...told.remarks_by_reason })) {
    list.append(element("li", `${count} × ${reason.replaceAll("_", " ")}: ${example}`));
  }
  parts.push(list);
  if (told.first_skipped.length > 0) {
    const all = element("details", "", { class: "more" });
    all.append(element("summary", "The first of them"));
    const rows = element("ul", "", { class: "fine" });
    for (const it of told.first_skipped.slice(0, MOST_SKIPPED)) rows.append(element("li", `${it.path}: ${it.message}`));
    all.append(rows);
    parts.push(all);
  }
  if (told.has_report) {
    const link = element("a", "Download the whole report", { href: apiOf("datasets", `/imports/${jobId}/report`), download: "" });
    const line = document.createElement("p");
    line.append(link);
    parts.push(line);
  }
  return parts;
}

one("stop").addEventListener("click", () => stopIt());

// Sending: XMLHttpRequest tells how far the way up is, fetch does not.

function send(path, form, title) {
  showCourse(title, "Sending…");
  const request = new XMLHttpRequest();
  stopIt = () => request.abort();
  request.open("POST", apiOf("datasets", `${path}?wait=false`));
  request.upload.addEventListener("progress", ({ loaded, total, lengthComputable }) => {
    if (!lengthComputable) return;
    courseBar.value = (100 * loaded) / total;
    one("line").textContent = `Sending: ${Math.round((100 * loaded) / total)} %`;
  });
  const failed = (text) => {
    course.hidden = true;
    showChoice();
    if (text) tellTrouble(text);
  };
  request.addEventListener("abort", () => failed(""));
  request.addEventListener("error", () => {
    lostConnection();
    failed("The server did not answer. Nothing was imported; try again when it is back.");
  });
  request.addEventListener("load", () => {
    foundConnection();
    let said = null;
    try {
      said = JSON.parse(request.responseText);
    } catch {
      // not our server's words; its status says enough
    }
    if (request.status === 202) follow(said.data.id);
    else failed(said?.error?.message ?? `The server refused this (status ${request.status}).`);
  });
  request.send(form);
}

async function ask(path, body) {
  showCourse("Import", "Asking…");
  try {
    follow((await askStudio("POST", apiOf("datasets", `${path}?wait=false`), { ...howAll(), ...body })).id);
  } catch {
    course.hidden = true;
    showChoice();
  }
}

// files: [{file, path}]. One archive is an archive; anything else are files with their folders.
async function sendFiles(files) {
  if (files.length === 0) return;
  if (!(await sure())) return;
  if (files.length === 1 && /\.(zip|parquet|arrow)$/i.test(files[0].path)) return sendArchive(files[0].file);
  if (files.length > MOST_FILES) return tellTrouble(`${files.length} files are more than can be sent at once (${MOST_FILES}). Make a zip file of them.`);
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  if (bytes > Number(importRoom.dataset.maxBytes)) return tellTrouble("These files are larger than the server takes at once. Send them in parts, or put them into a folder of the server.");
  const form = new FormData();
  for (const [name, value] of Object.entries(howAll())) form.append(name, String(value));
  if (field("class_name").value.trim() !== "") form.append("class_name", field("class_name").value.trim());
  for (const { path } of files) form.append("paths", path);
  for (const { file } of files) form.append("files", file);
  send("/import/files", form, `Import of ${countWords(files.length, "file", "files")}`);
}

function sendArchive(file) {
  const form = new FormData();
  for (const [name, value] of Object.entries(howAll())) form.append(name, String(value));
  form.append("uploaded_file", file);
  send("/import/upload", form, `Import of ${file.name}`);
}

// What is dropped may be folders: they are walked here.

async function walk(entry, path, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (!file.name.startsWith(".")) found.push({ file, path: path + file.name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const inner of some) await walk(inner, `${path}${entry.name}/`, found);
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  const found = [];
  if (entries.length === 0) for (const file of files) found.push({ file, path: file.name });
  for (const entry of entries) await walk(entry, "", found);
  if (found.length === 0) return tellTrouble("There is no file in what was dropped.");
  return sendFiles(found);
}

const zone = importRoom.querySelector("[data-drop]");
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") && course.hidden;
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.add("is-over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) zone.classList.remove("is-over");
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.remove("is-over");
  dropped(event.dataTransfer).catch(() => tellTrouble("What was dropped cannot be read. Choose it with the button instead."));
});

importRoom.addEventListener("click", (event) => {
  const choose = event.target.closest("[data-choose]");
  if (choose !== null) field(`choose-${choose.dataset.choose}`).click();
});
for (const id of ["choose-files", "choose-folder"]) {
  field(id).addEventListener("change", (event) => {
    const files = [...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    event.target.value = "";
    sendFiles(files);
  });
}

importRoom.addEventListener("submit", async (event) => {
  event.preventDefault();
  const way = event.target.dataset.way;
  if (way === "files" || !(await sure())) return;
  if (way === "zip") sendArchive(field("zip-file").files[0]);
  if (way === "local") ask("/import/local", { source_path: field("source_path").value.trim() });
  if (way === "gallery") ask("/import/gallery", galleryWish());
});

function galleryWish() {
  const tag = field("gallery-tag").value.trim();
  const filter = { search: field("gallery-search").value.trim(), tags: tag === "" ? [] : [tag] };
  if (field("gallery-favourite").checked) filter.favourite = true;
  const label = field("gallery-class").value.trim();
  return label === "" ? { filter } : { filter, class_name: label };
}

if (importRoom.dataset.job) follow(importRoom.dataset.job);
