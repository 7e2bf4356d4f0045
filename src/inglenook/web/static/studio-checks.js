// SPDX-License-Identifier: Apache-2.0
// Checks: run one, and do something about what it has found.
"use strict";

const checkForm = document.getElementById("check");

function followCheck(jobId) {
  const course = checkForm.querySelector("[data-course]");
  const bar = course.querySelector("progress");
  const button = checkForm.querySelector('[type="submit"]');
  course.hidden = false;
  button.disabled = true;
  bar.removeAttribute("value");
  course.querySelector("[data-course-stop]").onclick = () => askApi("POST", `/v1/jobs/${jobId}/cancel`).catch(() => {});
  watchJob(jobId, {
    progress: ({ progress, stage, done, total }) => {
      if (progress > 0) bar.value = 100 * progress;
      course.querySelector("[data-course-line]").textContent = total ? `${stage}: ${done} of ${total}` : stage;
    },
    ended: (job) => {
      if (job.state === "succeeded") return window.location.reload();
      course.hidden = true;
      button.disabled = false;
      tellTrouble(job.error?.message ?? "The check was stopped.");
    },
  });
}

checkForm?.addEventListener("submit", (event) => {
  event.preventDefault();
  const rules = { read_files: document.getElementById("read_files").checked };
  askStudio("POST", apiOf("datasets", "/checks?wait=false"), rules).then((job) => followCheck(job.id), () => {});
});
if (checkForm?.dataset.job) followCheck(checkForm.dataset.job);

// What is done about a group: afterwards it is out of sight, and the toast takes it back.

const idsOf = (group) => [...group.querySelectorAll("[data-picture]")].map((tile) => tile.dataset.picture);

async function fix(group, path, body, words) {
  const note = await askStudio("POST", apiOf("datasets", path), body);
  const next = group.nextElementSibling?.querySelector("button, a");
  group.remove();
  next?.focus();
  showToast(words, () => takeBackVersion(note));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-fix]");
  if (button === null) return;
  const group = button.closest("[data-group]");
  const ids = idsOf(group);
  const { fix: what, give: name, tag } = button.dataset;
  const gone = what === "spare" ? ids.filter((id) => id !== group.dataset.keep) : ids;
  const pictures = countWords(what === "spare" ? gone.length : ids.length, "picture", "pictures");
  const course = {
    spare: () => fix(group, "/remove", { ids: gone }, `${pictures} removed, one stays.`),
    remove: () => fix(group, "/remove", { ids }, `${pictures} removed.`),
    relabel: () => fix(group, "/relabel", { ids, class_name: name }, `${pictures}: class ${name}.`),
    tag: () => fix(group, "/tags", { ids, add: [tag] }, `${pictures}: tag “${tag}”.`),
  }[what]();
  course.catch(() => {});
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-fix-relabel]")) return;
  event.preventDefault();
  const group = event.target.closest("[data-group]");
  const input = event.target.querySelector("input");
  const name = input.value.trim();
  if (name === "") return input.focus();
  const ids = idsOf(group);
  fix(group, "/relabel", { ids, class_name: name }, `${countWords(ids.length, "picture", "pictures")}: class ${name}.`).catch(() => {});
});

document.addEventListener("removed-pictures", (event) => {
  for (const id of event.detail.ids) for (const tile of document.querySelectorAll(`[data-picture="${CSS.escape(id)}"]`)) tile.remove();
  showToast("The picture was removed.", () => takeBackVersion(event.detail.note));
});
