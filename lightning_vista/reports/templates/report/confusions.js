"use strict";
// Confusion matrices and predictions of one problem set, made when it is opened.

/** Return the result of a model on a set: [macro F1, accuracy, videos, unscored, ties] or null. */
const resultOf = (set, model) => set.results[state.view][model.index];
const predictedBy = (set, model) => set.predicted[state.view][model.index];

/** Copy the page's own picture of a model with its name. */
function heading(model) {
  const swatch = controls.querySelector(`[name=model][value="${model.index}"] + span .swatch`).cloneNode(true);
  return make("span", {}, swatch, " ", model.name, ...(model.part ? [" ", make("span", { class: "part" }, "part")] : []));
}

function confusionMatrix(set, model, size) {
  const counts = Array.from({ length: size }, () => new Array(size + 1).fill(0)); // the last column is for unscored videos
  predictedBy(set, model).forEach((prediction, video) => {
    counts[set.truth[video]][asList(prediction)[0] ?? size] += 1;
  });
  const unscored = counts.some((row) => row[size] > 0);
  const columns = [...counts.map((_, place) => place + 1), ...(unscored ? ["∅"] : [])];
  const head = make("tr", {}, make("th", { scope: "col" }, "true"), ...columns.map((text) => make("th", { scope: "col" }, text)));
  const rows = counts.map((row, place) => {
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    const cells = columns.map((_, column) =>
      make("td", { class: column === place ? "cell hit" : "cell", "--share": row[column] / sum }, row[column] || "·"));
    return make("tr", {}, make("th", { scope: "row" }, place + 1), ...cells);
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

/** Count hits, misses and false alarms of each label: with several true labels per video a matrix would need one prediction for each. */
function labelCounts(set, model, size) {
  const rows = Array.from({ length: size }, (_, place) => {
    const counts = { hit: 0, missed: 0, wrong: 0 };
    predictedBy(set, model).forEach((prediction, video) => {
      const is = asList(set.truth[video]).includes(place);
      const said = asList(prediction).includes(place);
      if (is) counts[said ? "hit" : "missed"] += 1;
      else if (said) counts.wrong += 1;
    });
    return make("tr", {}, make("th", { scope: "row" }, place + 1), ...Object.values(counts).map((count) => make("td", {}, count || "·")));
  });
  const head = ["label", "hits", "misses", "false alarms"].map((text) => make("th", { scope: "col" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

/** Return the predictions for every video, with its name. */
function videoTable(set, seen) {
  const number = (prediction) => asList(prediction).map((place) => place + 1).join(", ");
  const head = ["Video", "True", ...seen.map(heading)].map((text) => make("th", { scope: "col" }, text));
  const rows = set.videos.map((video, index) => {
    const cells = seen.map((model) => {
      const said = predictedBy(set, model)[index];
      if (asList(said).length === 0) return make("td", {}, "unscored");
      const right = asList(said).join() === asList(set.truth[index]).join();
      return make("td", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${number(said)}`);
    });
    return make("tr", {}, make("th", { scope: "row" }, ...breakable(video)), make("td", {}, number(set.truth[index])), ...cells);
  });
  return make("details", {},
    make("summary", {}, `Predictions for each of the ${set.videos.length} videos`),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Predictions" },
      make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))));
}

/** Fill an open entry with matrices and predictions under the chosen rescaling. */
function fillEntry(entry) {
  const set = data.sets[entry.dataset.set];
  const inside = entry.querySelector(".inside");
  for (const old of inside.querySelectorAll(".made")) old.remove();
  const seen = visible().filter((model) => predictedBy(set, model));
  if (!seen.length) return;
  const size = inside.querySelectorAll(".labels > li").length;
  const several = set.truth.some((truth) => asList(truth).length !== 1);
  const matrices = seen.map((model) => make("div", { class: "confusion" }, make("h4", {}, heading(model)),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Confusions of ${model.name}` },
      several ? labelCounts(set, model, size) : confusionMatrix(set, model, size))));
  const unscored = "rows are true descriptions, columns predicted ones, ∅ is unscored";
  inside.append(
    make("div", { class: "made" }, make("p", { class: "note" }, `Confusions: ${unscored}.`), make("div", { class: "confusions" }, ...matrices)),
    make("div", { class: "made" }, videoTable(set, seen)));
}
