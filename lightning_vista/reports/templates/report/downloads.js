"use strict";
// Files of the page's own content: results.csv, results.json, and every figure as CSV or SVG.

function save(name, type, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Return a cell with an apostrophe before a text that a spreadsheet would take for a formula: `plain_cell` of csv_tables.py. */
function plain(value) {
  if (value === null || typeof value === "number") return String(value ?? "");
  const text = value.replace(/\r\n?/g, "\n");
  const isFormula = /^[\s\x1c-\x1f\x85]*[=+\-@＝＋－＠]|^[\t\n]/.test(text);
  return isFormula && (!text.trim() || Number.isNaN(Number(text))) ? `'${text}` : text;
}
function quoted(value) {
  const text = plain(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
const csvText = (rows) => rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
const isShown = (node) => !node.closest("[hidden]");
/** Return the words of a cell; small notes are set apart by a space. */
const cellText = (cell) => [...cell.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(" ").replace(/\s+/g, " ");

/** Return the visible rows of a figure's tables. */
function figureCsv(figure) {
  const tables = [...figure.querySelectorAll("table")].filter(isShown);
  return tables.map((table) => {
    const name = table.closest("figure")?.querySelector("h3")?.textContent.trim();
    const rows = [...table.rows].filter(isShown).map((row) => [...row.cells].filter(isShown).map((cell) => quoted(cellText(cell))));
    return (name && tables.length > 1 ? `${quoted(name)}\n` : "") + rows.map((row) => row.join(",")).join("\n");
  }).join("\n\n") + "\n";
}

/** Replace the page's colours, which other programs do not know, by their values. */
function painted(text) {
  const theme = getComputedStyle(document.documentElement);
  return text.replace(/var\((--[\w-]+)\)/g, (_, name) => theme.getPropertyValue(name).trim());
}

/** Return the visible part of a figure as one SVG: its pictures in their places, and its words as text. */
function figureSvg(figure) {
  const frame = figure.getBoundingClientRect();
  const space = "http://www.w3.org/2000/svg";
  const root = document.createElementNS(space, "svg");
  const put = (node, attributes) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    root.append(node);
  };
  const [width, height] = [Math.ceil(Math.max(frame.width, figure.scrollWidth)), Math.ceil(frame.height)];
  const size = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "sans-serif" };
  for (const [name, value] of Object.entries(size)) root.setAttribute(name, value);
  put(document.createElementNS(space, "rect"), { width, height, fill: getComputedStyle(document.body).backgroundColor });
  for (const picture of figure.querySelectorAll("svg")) {
    const place = picture.getBoundingClientRect();
    if (!place.width) continue;
    const copy = picture.cloneNode(true);
    const symbol = copy.querySelector("use") && document.querySelector(copy.querySelector("use").getAttribute("href"));
    if (symbol) { // the file has no access to the page's symbols
      copy.setAttribute("viewBox", symbol.getAttribute("viewBox"));
      copy.replaceChildren(...[...symbol.children].map((child) => child.cloneNode(true)));
    }
    put(copy, { x: place.left - frame.left, y: place.top - frame.top, width: place.width, height: place.height });
  }
  const walker = document.createTreeWalker(figure, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.trim() || node.parentElement.closest("svg, .visually-hidden, details, .downloads")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const place = range.getBoundingClientRect();
    if (!place.width) continue;
    const look = getComputedStyle(node.parentElement);
    const text = document.createElementNS(space, "text");
    text.textContent = node.data.trim();
    put(text, { x: place.left - frame.left, y: place.bottom - frame.top - place.height * 0.25, fill: look.color, "font-size": look.fontSize, "font-weight": look.fontWeight });
  }
  return painted(new XMLSerializer().serializeToString(root));
}

/** Return the figures of the page as `results.json` holds them; the file beside the page has more digits and parts. */
function resultsJson() {
  const [head, ...lines] = data.table;
  const rows = lines.map((line) => Object.fromEntries(head.map((name, place) => [name, line[place]])));
  const keys = ["macro_f1", "accuracy", "videos", "unscored", "ties"];
  return JSON.stringify(Object.fromEntries(models.map((model) => [model.name, {
    rescaling: data.rescalings[0],
    problem_sets: Object.fromEntries(data.sets.filter((set) => set.results[0][model.index]).map((set) => [set.id,
      Object.fromEntries(keys.map((key, place) => [key, set.results[0][model.index][place]]))])),
    aggregates: rows.filter((row) => row.model === model.name).map(({ model: _, rescaling: __, ...row }) => row),
  }])), null, 1);
}

for (const figure of document.querySelectorAll(".figure")) {
  const name = figure.dataset.download.replace(/\W+/g, "_");
  const button = (kind, make_) => make("button", { type: "button", "aria-label": `Download ${figure.dataset.download} as ${kind}`, onclick: () => save(`${name}.${kind.toLowerCase()}`, kind === "CSV" ? "text/csv" : "image/svg+xml", make_(figure)) }, kind);
  figure.after(make("div", { class: "downloads" }, button("CSV", figureCsv), button("SVG", figureSvg)));
}
document.querySelector("[data-file=csv]").addEventListener("click", () => save("results.csv", "text/csv", csvText(data.table)));
document.querySelector("[data-file=json]").addEventListener("click", () => save("results.json", "application/json", resultsJson()));
