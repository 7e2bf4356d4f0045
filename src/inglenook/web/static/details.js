// SPDX-License-Identifier: Apache-2.0
// One picture over the page: everything about it, its neighbours by the arrow keys, its tags.
"use strict";

const details = document.getElementById("details");
const detailsContent = document.getElementById("details-content");
let asked = 0; // answers that come late, after another picture was asked for, are dropped

async function openDetails(id) {
  const mine = ++asked;
  let answer, html;
  try {
    answer = await fetch(`/gallery/view/${id}`, { headers: { "hx-request": "true" } });
    html = await answer.text();
  } catch {
    lostConnection();
    tellTrouble("The server did not answer; try again when it is back.");
    return;
  }
  foundConnection();
  if (mine !== asked) return;
  if (!answer.ok) {
    document.getElementById("trouble").innerHTML = html;
    return;
  }
  detailsContent.innerHTML = html;
  localTimes(detailsContent);
  if (!details.open) details.showModal();
  detailsContent.querySelector("[autofocus]")?.focus();
  showEnds();
}

const viewed = () => detailsContent.querySelector("[data-viewing]")?.dataset.viewing ?? null;

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-open]");
  if (link === null || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  openDetails(link.closest("[data-picture]").dataset.picture);
});

function neighbour(step) {
  const ids = shots().map((shot) => shot.dataset.picture);
  const here = ids.indexOf(viewed());
  return here < 0 ? undefined : ids[here + step];
}

function showEnds() {
  for (const button of details.querySelectorAll("[data-step]")) {
    button.disabled = neighbour(Number(button.dataset.step)) === undefined;
  }
}

function go(step) {
  const next = neighbour(step);
  if (next !== undefined) openDetails(next);
  // The last one that is there: what comes after it is fetched, and the arrow works again.
  const more = document.getElementById("next-shots");
  if (neighbour(step * 2) === undefined && step > 0 && more !== null) showMore(more);
}
document.addEventListener("htmx:afterSettle", showEnds);

details.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select")) return;
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});

// Back to where one was, in the grid.
details.addEventListener("close", () => {
  const id = viewed();
  asked += 1;
  detailsContent.replaceChildren();
  if (id !== null) shotOf(id)?.querySelector("[data-open]").focus();
});

details.addEventListener("click", (event) => {
  if (event.target === details || event.target.closest("[data-close]")) return details.close();
  const step = event.target.closest("[data-step]");
  if (step !== null) return go(Number(step.dataset.step));
  const id = viewed();
  const copy = event.target.closest("[data-copy]");
  if (copy !== null) copyText(copy);
  const untag = event.target.closest("[data-untag]");
  if (untag !== null) changeTags(id, (tags) => tags.filter((tag) => tag !== untag.dataset.untag));
  if (event.target.closest("[data-trash]")) leaveWith(() => trash([id]));
  if (event.target.closest("[data-restore]")) leaveWith(() => restore([id]));
  if (event.target.closest("[data-forever]")) leaveWith(() => deleteForever([id]));
});

// What takes the picture away goes on to the next one, or the one before it.
function leaveWith(act) {
  const next = neighbour(1) ?? neighbour(-1);
  act().then(
    (done) => {
      if (done === false) return;
      if (next === undefined) details.close();
      else openDetails(next);
    },
    () => {},
  );
}

async function copyText(button) {
  const text = detailsContent.querySelector(`[data-copy-of="${button.dataset.copy}"]`).textContent;
  try {
    await navigator.clipboard.writeText(text);
    showToast("Copied.");
  } catch {
    tellTrouble("The browser does not let this page copy; select the words and copy them by hand.");
  }
}

// Tags

details.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-tag-form]")) return;
  event.preventDefault();
  const field = event.target.elements.tag;
  const fresh = field.value.trim();
  if (fresh === "") return;
  changeTags(viewed(), (tags) => [...tags, fresh]).then(
    () => detailsContent.querySelector("#new-tag")?.focus(),
    () => {},
  );
});

async function changeTags(id, change) {
  const now = [...detailsContent.querySelectorAll("[data-untag]")].map((button) => button.dataset.untag);
  const answer = await askApi("PATCH", `/v1/pictures/${id}`, { tags: change(now) }).catch(() => null);
  if (answer === null || viewed() !== id) return;
  const list = detailsContent.querySelector(".tags");
  const model = (tag) => {
    const item = document.createElement("li");
    item.className = "tag";
    const link = document.createElement("a");
    link.href = `/gallery?tag=${encodeURIComponent(tag)}`;
    link.dir = "auto";
    link.textContent = tag;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.untag = tag;
    button.setAttribute("aria-label", `Remove the tag ${tag}`);
    button.append(document.querySelector("#details [data-close] svg").cloneNode(true));
    item.append(link, button);
    return item;
  };
  list.replaceChildren(...answer.tags.map(model));
  detailsContent.querySelector("#new-tag").value = "";
  announce(answer.tags.length === 0 ? "No tags" : `Tags: ${answer.tags.join(", ")}`);
}
