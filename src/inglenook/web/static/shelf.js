// SPDX-License-Identifier: Apache-2.0
// What is done with pictures of the gallery that are selected.
"use strict";

bar.addEventListener("click", (event) => {
  const ids = [...picked];
  const on = (name) => event.target.closest(`[${name}]`) !== null;
  if (on("data-star-picked")) starMany(ids).catch(() => {});
  if (on("data-trash-picked")) trash(ids).catch(() => {});
  if (on("data-restore-picked")) restore(ids).catch(() => {});
  if (on("data-forever-picked")) deleteForever(ids).catch(() => {});
  if (on("data-compare") && ids.length === 2) compareTwo(ids);
});

bar.addEventListener("submit", (event) => {
  if (event.target.matches("[data-zip]")) {
    event.target.elements.ids.value = [...picked].join(",");
    if (picked.size <= IDS_AT_ONCE) return;
    event.preventDefault();
    tellTrouble(`A zip file holds at most ${IDS_AT_ONCE} pictures; ${picked.size} are selected.`);
  } else {
    event.preventDefault();
    tagMany([...picked], document.getElementById("picked-tag")).catch(() => {});
  }
});

// All that are favourites already become none; else all become favourites.
async function starMany(ids) {
  const wanted = !ids.every((id) => shotOf(id)?.classList.contains("is-favourite") ?? false);
  await forIds("/v1/pictures/mark", ids, { favourite: wanted });
  for (const id of ids) showStar(id, wanted);
  announce(`${countWords(ids.length, "picture is", "pictures are")} ${wanted ? "marked as favourite" : "no longer favourite"}`);
}

async function tagMany(ids, field) {
  const tag = field.value.trim();
  if (tag === "") return field.focus();
  const answers = await forIds("/v1/pictures/mark", ids, { add_tags: [tag] });
  const changed = answers.reduce((sum, answer) => sum + answer.changed, 0);
  field.value = "";
  showToast(`${countWords(changed, "picture has", "pictures have")} the tag “${tag}” now.`, async () => {
    await forIds("/v1/pictures/mark", ids, { remove_tags: [tag] });
    announce("The tag was taken away again");
  });
}

function showStar(id, favourite) {
  shotOf(id)?.classList.toggle("is-favourite", favourite);
  const places = `[data-picture="${CSS.escape(id)}"] [data-star], [data-viewing="${CSS.escape(id)}"] [data-star]`;
  for (const button of document.querySelectorAll(places)) button.setAttribute("aria-pressed", String(favourite));
}

document.addEventListener("click", (event) => {
  const star = event.target.closest("[data-star]");
  if (star === null) return;
  const id = star.closest("[data-picture], [data-viewing]").dataset.picture ?? star.closest("[data-viewing]").dataset.viewing;
  const wanted = star.getAttribute("aria-pressed") !== "true";
  askApi("PATCH", `/v1/pictures/${id}`, { favourite: wanted }).then(
    () => {
      showStar(id, wanted);
      announce(wanted ? "Marked as favourite" : "No longer favourite");
    },
    () => {},
  );
});

async function trash(ids) {
  const gone = (await forIds("/v1/pictures/trash", ids)).flatMap((answer) => answer.ids);
  const putBack = takeAway(gone);
  showToast(`${countWords(gone.length, "picture was", "pictures were")} deleted.`, async () => {
    await forIds("/v1/pictures/restore", gone);
    putBack();
    announce(`${countWords(gone.length, "picture is", "pictures are")} back`);
  });
  return putBack;
}

async function restore(ids) {
  const back = (await forIds("/v1/pictures/restore", ids)).flatMap((answer) => answer.ids);
  const putBack = takeAway(back);
  showToast(`${countWords(back.length, "picture was", "pictures were")} restored.`, async () => {
    await forIds("/v1/pictures/trash", back);
    putBack();
  });
}

async function deleteForever(ids) {
  if (!(await askSure(`Delete ${countWords(ids.length, "picture", "pictures")} for good? This cannot be undone.`))) return false;
  for (const id of ids) {
    await askApi("DELETE", `/v1/pictures/${id}?forever=true`);
    takeAway([id]);
  }
  showToast(`${countWords(ids.length, "picture was", "pictures were")} deleted for good.`);
  return true;
}

document.addEventListener("click", async (event) => {
  if (!event.target.closest("[data-empty-trash]")) return;
  if (!(await askSure("Delete everything in the trash for good? This cannot be undone."))) return;
  await askApi("POST", "/v1/pictures/empty-trash").then(() => window.location.reload(), () => {});
});
