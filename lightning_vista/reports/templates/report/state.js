"use strict";
// The reader's choices, and the address that restores them: #env=home&scores=none&hide=2,3&set=<id>&q=<words>&...

const data = JSON.parse(document.getElementById("data").textContent);
const models = data.models.map((model, index) => ({ ...model, index }));
data.sets.forEach((set, index) => {
  set.id = document.querySelector(`[data-set="${index}"]`).id.slice("set=".length);
  set.videos = set.videos.map((video) => (video.startsWith("./") ? set.id + video.slice(1) : video)); // most lie in a folder of this name
});
const controls = document.querySelector(".controls");
const state = { environment: "", view: 0, shown: new Set() };
/** Parts of the page that follow the choices; each is called after a change. */
const listeners = [];
/** Further parts of the address: name -> [read it, apply it]; an empty value leaves the part out. */
const addressParts = new Map();
const usual = new Set(models.filter((model) => !model.baseline).map((model) => model.index));

const visible = () => models.filter((model) => state.shown.has(model.index));
const isDefault = () => state.shown.size === usual.size && [...usual].every((index) => state.shown.has(index));

/** Read the state of the switches. */
function readControls() {
  const chosen = new FormData(controls);
  state.environment = chosen.get("environment");
  state.view = Math.max(data.rescalings.indexOf(chosen.get("rescaling")), 0);
  state.shown = new Set(chosen.getAll("model").map(Number));
}

/** Show the panels and rows that belong to the state. */
function showState() {
  for (const panel of document.querySelectorAll(".panel")) {
    const { environment, rescaling } = panel.dataset;
    panel.hidden = environment !== state.environment || !["any", data.rescalings[state.view]].includes(rescaling);
  }
  for (const node of document.querySelectorAll("[data-model]")) node.hidden = !state.shown.has(Number(node.dataset.model));
  document.getElementById("nobody").hidden = state.shown.size > 0;
  for (const listener of listeners) listener();
}

/** Return the address of the state; only what differs from the page as it opens. */
function address() {
  const parts = new URLSearchParams();
  const first = controls.querySelector("[name=environment]").value;
  if (state.environment !== first) parts.set("env", state.environment);
  if (state.view) parts.set("scores", data.rescalings[state.view]);
  if (!isDefault()) parts.set("show", [...state.shown].join("."));
  for (const [name, [read]] of addressParts) if (read()) parts.set(name, read());
  return parts.toString();
}

/** Keep the address in step with the state, without a new entry in the history for every choice. */
function writeAddress() {
  const hash = address();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

/** Restore the state from the address; an anchor such as #length is left to the browser. */
function readAddress() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return;
  const parts = new URLSearchParams(hash);
  const tick = (name, value) => {
    const node = [...controls.querySelectorAll(`[name=${name}]`)].find((each) => each.value === value);
    if (node) node.checked = true;
  };
  if (parts.has("env")) tick("environment", parts.get("env"));
  if (parts.has("scores")) tick("rescaling", parts.get("scores"));
  if (parts.has("show")) {
    const shown = new Set(parts.get("show").split("."));
    for (const box of controls.querySelectorAll("[name=model]")) box.checked = shown.has(box.value);
  }
  readControls();
  showState();
  for (const [name, [, apply]] of addressParts) if (parts.has(name)) apply(parts.get(name));
}
