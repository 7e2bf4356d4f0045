// SPDX-License-Identifier: Apache-2.0
// Markdown as nodes. The text is taken apart by marked's lexer; every node is made here, from a short list of
// elements, and every text is set as text: no string ever becomes HTML. What the lexer calls HTML is shown as it
// was written, pictures of other hosts are links, and a link leads to http, https or mailto.
"use strict";

const MD_DEEPEST = 30; // quotes in lists in quotes: what lies deeper is shown as it was written
const MD_LONGEST_CODE = 60_000; // characters that are coloured
const MD_LINK = /^(https?:\/\/|mailto:)/i;
const MD_NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

// Show `text` in `place`. The blocks at the beginning that have not changed since the last time stay as they are,
// so a text can be shown again with each piece that comes. `done`: no more will come.
function showMarkdown(place, text, done = true) {
  if (window.marked === undefined) {
    showLater(place, text, done);
    return;
  }
  const blocks = mdBlocks(text);
  const known = place.mdRaw ?? [];
  let same = 0;
  while (same < known.length && same < blocks.length && known[same] === blocks[same].raw) same += 1;
  if (!done && same === blocks.length && same > 0) return;
  // The last block may have been left uncoloured because more of it could come.
  if (done && same > 0) same -= 1;
  if (place.mdRaw === undefined) place.replaceChildren();
  while (place.children.length > same) place.lastElementChild.remove();
  blocks.slice(same).forEach((block, index) => {
    const last = same + index === blocks.length - 1;
    place.append(mdBlock(block, 0, done || !last));
  });
  place.mdRaw = blocks.map((block) => block.raw);
  place.classList.add("is-shown");
}

// As plain text, until the lexer is there: a page without messages does not bring it.
function showLater(place, text, done) {
  const first = place.mdLater === undefined;
  place.mdLater = { text, done };
  place.textContent = text;
  if (!first) return;
  fetchScript("lexer").then(
    () => {
      const { text: last, done: ended } = place.mdLater;
      showMarkdown(place, last, ended);
    },
    () => {}, // plain text it is
  );
}

// Each block is one element of the page, so `space` is left out.
function mdBlocks(text) {
  try {
    return marked.lexer(text, { gfm: true, breaks: true }).filter((token) => token.type !== "space" && token.type !== "def");
  } catch {
    return [{ type: "raw", raw: text }]; // nested beyond what the lexer bears
  }
}

function mdElement(name, children = [], className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function mdBlock(token, depth, whole) {
  if (depth > MD_DEEPEST) return mdElement("p", [token.raw ?? ""]);
  switch (token.type) {
    case "heading":
      return mdElement(`h${Math.min(6, token.depth + 2)}`, mdInline(token.tokens, depth));
    case "code":
      return mdCode(token.text, token.lang ?? "", whole);
    case "blockquote":
      return mdElement("blockquote", token.tokens.filter((it) => it.type !== "space").map((it) => mdBlock(it, depth + 1, whole)));
    case "list":
      return mdList(token, depth, whole);
    case "table":
      return mdTable(token, depth);
    case "hr":
      return mdElement("hr");
    case "paragraph":
      return mdElement("p", mdInline(token.tokens, depth));
    case "text":
      return mdElement("p", token.tokens ? mdInline(token.tokens, depth) : [mdText(token.text)]);
    default: // html, and whatever the lexer may come to know
      return mdElement("p", [(token.raw ?? token.text ?? "").trimEnd()], "as-written");
  }
}

function mdList(token, depth, whole) {
  const list = mdElement(token.ordered ? "ol" : "ul");
  if (token.ordered && Number.isInteger(token.start) && token.start !== 1) list.start = token.start;
  for (const item of token.items) {
    const made = mdElement("li");
    if (item.task) {
      const box = mdElement("input");
      box.type = "checkbox";
      box.disabled = true;
      box.checked = item.checked === true;
      box.setAttribute("aria-label", item.checked ? "done" : "not done");
      made.append(box, " ");
    }
    for (const inner of item.tokens) {
      if (inner.type === "space" || inner.type === "checkbox") continue;
      // In a tight list a text is no paragraph of its own.
      if (inner.type === "text" && !item.loose) made.append(...(inner.tokens ? mdInline(inner.tokens, depth + 1) : [mdText(inner.text)]));
      else made.append(mdBlock(inner, depth + 1, whole));
    }
    list.append(made);
  }
  return list;
}

function mdTable(token, depth) {
  const row = (cells, name) =>
    mdElement(
      "tr",
      cells.map((cell, column) => {
        const made = mdElement(name, mdInline(cell.tokens, depth));
        if (name === "th") made.scope = "col";
        const align = token.align[column];
        if (["left", "right", "center"].includes(align)) made.classList.add(`to-${align}`);
        return made;
      }),
    );
  const table = mdElement("table", [
    mdElement("thead", [row(token.header, "th")]),
    mdElement("tbody", token.rows.map((cells) => row(cells, "td"))),
  ]);
  const wide = mdElement("div", [table], "md-table");
  wide.tabIndex = 0; // it may scroll
  wide.setAttribute("role", "group");
  wide.setAttribute("aria-label", "Table");
  return wide;
}

// Inline tokens as nodes.
function mdInline(tokens, depth) {
  return (tokens ?? []).flatMap((token) => {
    if (depth > MD_DEEPEST) return [token.raw ?? ""];
    switch (token.type) {
      case "strong":
        return [mdElement("strong", mdInline(token.tokens, depth + 1))];
      case "em":
        return [mdElement("em", mdInline(token.tokens, depth + 1))];
      case "del":
        return [mdElement("del", mdInline(token.tokens, depth + 1))];
      case "codespan":
        return [mdElement("code", [token.text])];
      case "br":
        return [mdElement("br")];
      case "link":
        return mdLink(token.href, mdInline(token.tokens, depth + 1), token.raw);
      case "image":
        return mdLink(token.href, [`Picture: ${mdText(token.text) || token.href}`], token.raw);
      case "escape":
      case "text":
        return token.tokens ? mdInline(token.tokens, depth + 1) : [mdText(token.text)];
      default: // html: as it was written
        return [token.raw ?? token.text ?? ""];
    }
  });
}

// A link to another host opens beside this page; anything else than http, https and mailto is no link.
function mdLink(href, children, raw) {
  if (typeof href !== "string" || !MD_LINK.test(href)) return [raw];
  let address;
  try {
    address = new URL(href);
  } catch {
    return [raw];
  }
  if (!["http:", "https:", "mailto:"].includes(address.protocol)) return [raw];
  const link = mdElement("a", children);
  link.href = address.href;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  link.title = address.href;
  return [link];
}

// Entities, which the lexer leaves as they are.
function mdText(text) {
  return text.replace(/&(#x[0-9a-f]{1,6}|#\d{1,7}|[a-z]{2,5});/gi, (written, name) => {
    if (!name.startsWith("#")) return MD_NAMED[name] ?? written;
    const code = name[1].toLowerCase() === "x" ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : "\ufffd";
  });
}

// Code, with colours once their script has been fetched: only a page that shows code needs it.

function mdCode(text, lang, whole) {
  const made = document.getElementById("code-block").content.firstElementChild.cloneNode(true);
  const name = lang.trim().split(/[\s,{]/)[0].slice(0, 30);
  made.querySelector(".code-head span").textContent = name || "Code";
  const code = made.querySelector("code");
  code.textContent = text;
  made.querySelector("pre").setAttribute("aria-label", name ? `Code in ${name}` : "Code");
  if (whole && name && text.length <= MD_LONGEST_CODE) colourCode(code, name.toLowerCase());
  return made;
}

const fetched = {};

// A script of ours that the page names (`lexer`, `highlighter`), once.
function fetchScript(name) {
  fetched[name] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.getElementById("content").dataset[name];
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
  return fetched[name];
}

async function colourCode(code, name) {
  try {
    await fetchScript("highlighter");
  } catch {
    return; // no colours is all that is lost
  }
  if (hljs.getLanguage(name) === undefined) return;
  const html = hljs.highlight(code.textContent, { language: name, ignoreIllegals: true }).value;
  const read = new DOMParser().parseFromString(html, "text/html"); // a document in which nothing runs or loads
  code.replaceChildren(...[...read.body.childNodes].map(colouredNode));
}

// Texts and spans with a class of the highlighter; nothing else is taken over.
function colouredNode(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return document.createTextNode(node.textContent);
  const children = [...node.childNodes].map(colouredNode);
  const named = node.nodeName === "SPAN" && /^hljs-[\w -]+$/.test(node.className);
  return mdElement("span", children, named ? node.className : "");
}
