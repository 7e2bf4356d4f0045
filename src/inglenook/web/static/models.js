// SPDX-License-Identifier: Apache-2.0
// The models as they stand: the stream writes the rows that have changed; a field narrows what is shown.
"use strict";

const modelGroups = document.getElementById("model-groups");
const findModel = document.getElementById("find-model");

// The focus stays where it was, also when the button under it was written anew.
function writeRow(html) {
  const fresh = parseElement(html);
  const present = document.getElementById(fresh.id);
  if (present === null) return;
  const focused = present.contains(document.activeElement) ? document.activeElement.id : "";
  present.replaceWith(fresh);
  htmx.process(fresh);
  if (focused) (document.getElementById(focused) ?? fresh.querySelector("button, a")).focus();
  narrow();
}

function narrow() {
  const wanted = findModel.value.trim().toLowerCase();
  let shown = 0;
  for (const group of modelGroups.querySelectorAll("section")) {
    let here = 0;
    for (const row of group.querySelectorAll(".model")) {
      row.hidden = wanted !== "" && !row.querySelector(".model-what").textContent.toLowerCase().includes(wanted);
      here += row.hidden ? 0 : 1;
    }
    group.hidden = here === 0;
    shown += here;
  }
  document.getElementById("no-model").hidden = shown > 0 || wanted === "";
}
findModel.addEventListener("input", narrow);

new LiveStream(() => "/models/stream", {
  row: writeRow,
  rows: (html) => {
    modelGroups.innerHTML = html;
    htmx.process(modelGroups);
    narrow();
  },
}).start();
