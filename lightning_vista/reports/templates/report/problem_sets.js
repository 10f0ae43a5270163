"use strict";
// The list of problem sets: filters, order, and an address for each.

const PAGE = 25;
const entries = [...document.querySelectorAll("details.set")];
const listed = { limit: PAGE, opened: "" };
const chanceModel = models.find((model) => model.name === "random" && model.baseline);
const judges = () => visible().filter((model) => !model.baseline);
const setOf = (entry) => data.sets[entry.dataset.set];
const environmentOf = (entry) => setOf(entry).id.split("/")[0];

/** Return the mean F1 above chance over the visible scorers; null unless each has the set: other means do not compare. */
function aboveChance(entry) {
  const values = judges().map((model) => resultOf(setOf(entry), model)?.[0] ?? null);
  const chance = chanceModel ? resultOf(setOf(entry), chanceModel)?.[0] ?? null : 0;
  if (!values.length || chance === null || values.includes(null)) return null;
  return values.reduce((a, b) => a + b, 0) / values.length - chance;
}

const orders = new Map([
  ["id", ["Name", (entry) => `${"apart" in entry.dataset ? 1 : 0} ${setOf(entry).id}`]], // what is not compared comes last
  ["hard", ["Hardest first (F1 − chance)", aboveChance]],
  ["easy", ["Easiest first", (entry) => (aboveChance(entry) === null ? null : -aboveChance(entry))]],
  ["level", ["Level", (entry) => Number(entry.dataset.level)]],
  ...models.filter((model) => !model.baseline).map((model) => [`f1-${model.index}`, [`F1 of ${model.name}`, (entry) => resultOf(setOf(entry), model)?.[0] ?? null]]),
]);

function compareEntries(value) {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // missing values come last
    const byValue = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return byValue || setOf(a).id.localeCompare(setOf(b).id, "en", { numeric: true });
  };
}

const texts = new Map();
/** Return the words of an entry: its id, labels, descriptions and videos. */
function wordsOf(entry) {
  if (!texts.has(entry)) {
    const labels = entry.querySelector(".labels").textContent;
    texts.set(entry, [setOf(entry).id, labels, entry.querySelector(".where").textContent].join(" ").toLowerCase());
  }
  return texts.get(entry);
}

function matches(entry) {
  const { kind, level } = entry.dataset;
  const environment = environmentOf(entry);
  const words = filters.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const everywhere = state.environment === "all" || controls.querySelectorAll("[name=environment]").length === 1;
  return (everywhere || state.environment === environment) &&
    (!filters.kind.select.value || kind === filters.kind.select.value) &&
    (!filters.level.select.value || level === filters.level.select.value) &&
    words.every((word) => wordsOf(entry).includes(word));
}

function showSets() {
  const found = entries.filter(matches).sort(compareEntries(orders.get(filters.order.select.value)[1]));
  const shown = new Set(found.slice(0, listed.limit));
  for (const entry of entries) entry.hidden = !shown.has(entry);
  document.getElementById("sets").append(...found);
  for (const entry of shown) {
    const set = setOf(entry);
    for (const score of entry.querySelectorAll(".scores [data-model]")) {
      score.textContent = decimal(resultOf(set, models[score.dataset.model])?.[0]);
    }
    if (entry.open) fillEntry(entry);
  }
  const where = state.environment === "all" ? "" : ` in ${state.environment}`;
  document.getElementById("set-status").textContent = `${found.length} of ${entries.length} problem sets${found.length < entries.length ? ` match${where}` : ""}; ${shown.size} shown.`;
  document.getElementById("more-sets").hidden = found.length <= listed.limit;
}

function filterSets() {
  listed.limit = PAGE;
  showSets();
  writeAddress();
}

/** Open one set, whatever the filters say, and go to it. */
function openSet(id) {
  const entry = entries.find((each) => setOf(each).id === id);
  if (!entry) return announce(`This report has no problem set ${id}.`);
  if (!matches(entry)) {
    for (const each of [filters.kind, filters.level]) each.select.value = "";
    filters.text.value = "";
    if (!["all", environmentOf(entry)].includes(state.environment)) {
      const box = [...controls.querySelectorAll("[name=environment]")].find((each) => ["all", environmentOf(entry)].includes(each.value));
      if (box) box.checked = true;
      readControls();
      showState();
    }
  }
  listed.limit = Math.max(listed.limit, entries.length);
  entry.open = true;
  showSets();
  entry.hidden = false; // also a set of an environment that is not compared
  fillEntry(entry);
  listed.opened = id;
  entry.scrollIntoView({ behavior: "instant" });
  entry.querySelector("summary").focus({ preventScroll: true });
}

const options = (name, title, text) => [["", title], ...distinct(entries.map((entry) => entry.dataset[name]))
  .sort((a, b) => a.localeCompare(b, "en", { numeric: true })).map((value) => [value, text(value)])];
const filters = {
  kind: choice("Kind", options("kind", "All kinds", (value) => value), filterSets),
  level: choice("Level", options("level", "All levels", (value) => `Level ${value}`), filterSets),
  order: choice("Order", [...orders].map(([key, [title]]) => [key, title]), filterSets),
  text: make("input", { type: "search", placeholder: "name or description", oninput: filterSets }),
};
document.getElementById("set-filters").append(filters.kind.node, filters.level.node, filters.order.node, make("label", {}, "Text", filters.text));
document.getElementById("more-sets").addEventListener("click", () => {
  listed.limit = entries.length;
  showSets();
});
for (const entry of entries) {
  entry.addEventListener("toggle", () => {
    if (entry.open) {
      fillEntry(entry);
      listed.opened = setOf(entry).id;
    } else if (listed.opened === setOf(entry).id) listed.opened = "";
    writeAddress();
  });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#set="]');
  if (!link) return;
  event.preventDefault();
  openSet(decodeURIComponent(link.getAttribute("href").slice(5)));
  writeAddress();
});
for (const name of ["kind", "level", "order"]) {
  addressParts.set(name, [() => (filters[name].select.selectedIndex ? filters[name].select.value : ""), (value) => {
    filters[name].select.value = value;
    if (filters[name].select.selectedIndex < 0) filters[name].select.selectedIndex = 0;
    showSets();
  }]);
}
addressParts.set("q", [() => filters.text.value, (value) => { filters.text.value = value; showSets(); }]);
addressParts.set("set", [() => listed.opened, openSet]);
listeners.push(showSets);
