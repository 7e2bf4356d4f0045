// SPDX-License-Identifier: Apache-2.0
// A picture opened over the page.
"use strict";

const viewer = document.getElementById("viewer");

if (viewer !== null) {
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "viewer-content") return;
    if (!viewer.open) viewer.showModal();
  });

  // Anything that leads away from the picture closes it first.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const target = event.detail.target;
    if (viewer.contains(event.detail.elt) && target && target.id === "draw-form") viewer.close();
  });

  viewer.addEventListener("click", (event) => {
    if (event.target === viewer || event.target.closest("[data-close]")) viewer.close();
    const step = event.target.closest("[data-step]");
    if (step) neighbour(Number(step.dataset.step));
  });

  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") neighbour(-1);
    if (event.key === "ArrowRight") neighbour(1);
  });

  // The tile one further in the list below; at the ends nothing happens.
  const neighbour = (step) => {
    const shown = viewer.querySelector("[data-viewing]");
    const tiles = [...document.querySelectorAll("#pictures [data-picture]")];
    const here = tiles.findIndex((tile) => tile.dataset.picture === shown?.dataset.viewing);
    const next = here < 0 ? undefined : tiles[here + step];
    if (next !== undefined) next.querySelector("[data-tile]").click();
  };

  document.addEventListener("removed", () => viewer.close());
}

// "Show more" goes on after the last tile that is there, also when the one it was written for was deleted.
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.closest("#next-tiles") === null) return;
  const tiles = document.querySelectorAll("#pictures > [data-picture]");
  if (tiles.length > 0) event.detail.path = `/fragments/gallery?before=${tiles[tiles.length - 1].dataset.picture}`;
});

// A picture was deleted: it leaves every place where it is shown.
document.addEventListener("removed", (event) => {
  for (const element of document.querySelectorAll(`[data-picture="${CSS.escape(event.detail.picture)}"]`)) element.remove();
});
