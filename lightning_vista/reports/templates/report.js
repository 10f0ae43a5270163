"use strict";
// Figures and tables that depend on the reader's choices. Text of the data enters the page as textContent only, so that
// labels and file names are never parsed as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const models = data.models.map((name, index) => ({ name, index, ...data.looks[index], scorer: index < data.scorers }));
  const setOf = new Map(data.sets.map((set) => [set.id, set]));
  const state = { environment: "all", view: 0, shown: new Set(models.map((model) => model.index)) };
  const PAGE = 25;

  // ---------------------------------------------------------------- small helpers

  /** Make an element with attributes and children; strings become text nodes, never markup. */
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name.startsWith("--")) node.style.setProperty(name, value);
      else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
    return node;
  }

  /** Split a path so that lines may break after its slashes. */
  const breakable = (path) => path.split("/").flatMap((part, place) => (place ? ["/", make("wbr"), part] : [part]));

  const swatch = (model) => {
    const node = make("span", { class: "swatch", "aria-hidden": "true" }, model.glyph);
    node.style.color = model.colour;
    return node;
  };
  const heading = (model) => make("span", {}, swatch(model), " ", model.name, ...(model.partial ? [" ", make("span", { class: "part" }, "part")] : []));
  const visible = () => models.filter((model) => state.shown.has(model.index));
  const scorers = () => visible().filter((model) => model.scorer);
  const decimal = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const asList = (prediction) => (Array.isArray(prediction) ? prediction : [prediction]);
  const same = (a, b) => asList(a).join() === asList(b).join();

  /** Return the result of a model on a set: [macro F1, accuracy, videos, unscored, ties] or null. */
  const result = (set, model) => set.results[state.view][model.index];
  const macroF1 = (set, model) => result(set, model)?.[0] ?? null;
  const total = (set, place) => scorers().reduce((sum, model) => sum + (result(set, model)?.[place] ?? 0), 0);
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
  /** Return the mean over the visible scorers, null unless each of them has the set: means of different scorers do not compare. */
  const meanF1 = (set) => {
    const values = scorers().map((model) => macroF1(set, model));
    return values.includes(null) ? null : mean(values);
  };

  /** Return "right", "wrong" or "unscored"; null if the model's table lacks the set. */
  function outcome(set, model, video) {
    const prediction = set.predicted[state.view][model.index]?.[video];
    if (prediction === undefined) return null;
    if (asList(prediction).length === 0) return "unscored";
    return same(prediction, set.truth[video]) ? "right" : "wrong";
  }

  /** Make a labelled drop-down of [value, text] pairs. */
  function choice(title, options, onchange) {
    const select = make("select", { onchange });
    for (const [value, text] of options) select.append(make("option", { value }, text));
    return { select, node: make("label", {}, title, select) };
  }

  const distinct = (values) => [...new Set(values)];
  const kindsAndLevels = (sets) => [
    [["", "All kinds"], ...distinct(sets.map((set) => set.kind)).sort().map((kind) => [kind, kind])],
    [["", "All levels"], ...distinct(sets.map((set) => set.level)).sort((a, b) => a - b).map((level) => [level, `Level ${level}`])],
  ];

  // ---------------------------------------------------------------- figures

  /** Copy a specification with the theme's colours in place of CSS variables, which plotly does not resolve. */
  function painted(value, theme) {
    if (typeof value === "string") {
      const variable = /^var\((--[\w-]+)\)$/.exec(value);
      return variable ? theme.getPropertyValue(variable[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => painted(item, theme));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, theme)]));
  }

  /** Place one horizontal row per visible trace, with its name above it at the left, where a phone has room for it. */
  function placeRows(traces, layout, colour) {
    traces.forEach((trace, row) => { trace.y = trace.x.map(() => row); });
    layout.yaxis.range = [Math.max(traces.length, 1) - 0.5, -0.7];
    layout.annotations = traces.map((trace, row) => ({
      x: 0, xref: "paper", xanchor: "left", y: row, yshift: 15, text: trace.name, showarrow: false, font: { color: colour },
    }));
  }

  function draw(node) {
    const plot = data.plots[node.dataset.plot];
    const theme = getComputedStyle(document.documentElement);
    const traces = plot.data.filter((trace) => trace.meta.every((index) => state.shown.has(index)));
    const layout = painted(plot.layout, theme);
    const { row_height: rowHeight, height } = layout.meta;
    if (rowHeight) placeRows(traces, layout, theme.getPropertyValue("--ink"));
    node.style.height = `${rowHeight ? 60 + rowHeight * Math.max(traces.length, 1) : height}px`;
    Plotly.react(node, painted(traces, theme), layout, { displayModeBar: false, responsive: true });
  }

  function showPanels() {
    for (const panel of document.querySelectorAll(".panel")) {
      const { environment, rescaling } = panel.dataset;
      panel.hidden = environment !== state.environment || !["any", data.rescalings[state.view]].includes(rescaling);
      if (!panel.hidden) panel.querySelectorAll(".plot").forEach(draw);
    }
    // Screen readers get a figure's label and table; plotly's own nodes, including its ruler, would only add noise.
    for (const svg of document.querySelectorAll("svg")) svg.setAttribute("aria-hidden", "true");
    for (const row of document.querySelectorAll("tr[data-model]")) row.hidden = !state.shown.has(Number(row.dataset.model));
  }

  // ---------------------------------------------------------------- confusions

  function confusionMatrix(set, model) {
    const predicted = set.predicted[state.view][model.index];
    const size = set.labels.length;
    const counts = set.labels.map(() => new Array(size + 1).fill(0)); // the last column is for unscored videos
    predicted.forEach((prediction, video) => {
      counts[set.truth[video]][asList(prediction)[0] ?? size] += 1;
    });
    const unscored = counts.some((row) => row[size] > 0);
    const columns = [...set.labels.map((_, place) => place + 1), ...(unscored ? ["∅"] : [])];
    const head = make("tr", {}, make("th", { scope: "col" }, "true"), ...columns.map((text) => make("th", { scope: "col" }, text)));
    const rows = counts.map((row, place) => {
      const sum = row.reduce((a, b) => a + b, 0) || 1;
      const cells = columns.map((_, column) =>
        make("td", { class: column === place ? "cell hit" : "cell", "--share": row[column] / sum }, row[column] || "·"));
      return make("tr", {}, make("th", { scope: "row", title: set.labels[place] }, place + 1), ...cells);
    });
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  /** Count hits, misses and false alarms of each label: with several true labels per video there is no matrix. */
  function labelCounts(set, model) {
    const rows = set.labels.map((_, place) => {
      const counts = { hit: 0, missed: 0, wrong: 0 };
      set.predicted[state.view][model.index].forEach((prediction, video) => {
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

  const names = (set, prediction) => asList(prediction).map((place) => `${place + 1}`).join(", ");

  function videoTable(set, seen) {
    const head = ["Video", "True", ...seen.map(heading)].map((text) => make("th", { scope: "col" }, text));
    const rows = set.videos.map((video, index) => {
      const cells = seen.map((model) => {
        const said = outcome(set, model, index);
        if (said === null || said === "unscored") return make("td", {}, said ?? "–");
        return make("td", { class: said }, `${said === "right" ? "✓" : "✗"} ${names(set, set.predicted[state.view][model.index][index])}`);
      });
      return make("tr", {}, make("th", { scope: "row" }, ...breakable(video)), make("td", {}, names(set, set.truth[index])), ...cells);
    });
    return make("details", {},
      make("summary", {}, `Predictions for each of the ${set.videos.length} videos`),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Predictions" },
        make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))));
  }

  function detail(set) {
    const seen = visible().filter((model) => set.predicted[state.view][model.index]);
    if (!seen.length) return make("p", { class: "nothing" }, "No score table of this report holds this problem set.");
    const labels = set.labels.map((label, place) => make("li", {}, label, set.descriptions[place] ? ` — ${set.descriptions[place]}` : null));
    const several = set.truth.some((truth) => asList(truth).length !== 1);
    const matrices = seen.map((model) => {
      const [, accuracy, videos, unscored, ties] = result(set, model) ?? [];
      return make("div", { class: "confusion" },
        make("h4", {}, heading(model)),
        make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Confusions of ${model.name}` },
          several ? labelCounts(set, model) : confusionMatrix(set, model)),
        make("p", { class: "path" }, `accuracy ${decimal(accuracy)} · ${videos ?? 0} videos · ${unscored ?? 0} unscored · ${ties ?? 0} ties`));
    });
    return make("div", { class: "inside" },
      make("ol", { class: "labels" }, ...labels),
      make("div", { class: "confusions" }, ...matrices),
      videoTable(set, seen));
  }

  // ---------------------------------------------------------------- every problem set

  const table = { key: "mean", descending: false, limit: PAGE, open: new Set() };

  const columns = () => [
    { key: "id", title: "Problem set", value: (set) => set.id, text: true },
    { key: "kind", title: "Kind", value: (set) => set.kind, text: true, minor: true },
    { key: "level", title: "Level", value: (set) => set.level, minor: true },
    { key: "videos", title: "Videos", value: (set) => Math.max(...models.map((model) => result(set, model)?.[2] ?? 0)), minor: true },
    ...(scorers().length > 1 ? [{ key: "mean", title: "Mean of scorers", value: meanF1, share: true }] : []),
    ...visible().map((model) => ({ key: `model ${model.index}`, title: heading(model), value: (set) => macroF1(set, model), share: true, mark: model.colour })),
    { key: "unscored", title: "Unscored", value: (set) => total(set, 3) },
    { key: "ties", title: "Ties", value: (set) => total(set, 4) },
  ];

  function setRow(set, shownColumns) {
    const open = table.open.has(set.id);
    const parts = set.id.split("/");
    const opener = make("button", { type: "button", class: "opener", "aria-expanded": String(open), onclick: () => {
      if (open) table.open.delete(set.id); else table.open.add(set.id);
      showSets();
      document.querySelector(`[data-set="${CSS.escape(set.id)}"] button`)?.focus();
    } }, make("span", {}, parts.at(-1), make("span", { class: "path" }, ...breakable(parts.slice(0, -1).join("/")))));
    const cells = shownColumns.slice(1).map(({ value, share, mark, minor }) => {
      const found = value(set);
      if (!share) return make("td", { class: minor ? "minor" : null }, found);
      return make("td", found === null ? {} : { class: "share", "--share": found, "--mark": mark ?? "var(--axis)" }, decimal(found));
    });
    const rows = [make("tr", { "data-set": set.id }, make("th", { scope: "row" }, opener), ...cells)];
    if (open) rows.push(make("tr", { class: "detail" }, make("td", { colspan: shownColumns.length }, detail(set))));
    return rows;
  }

  function matching(filters, sets) {
    const words = filters.text?.value.toLowerCase().split(/\s+/).filter(Boolean) ?? [];
    return sets.filter((set) =>
      (!filters.environment?.select.value || set.environment === filters.environment.select.value) &&
      (!filters.kind.select.value || set.kind === filters.kind.select.value) &&
      (!filters.level.select.value || set.level === Number(filters.level.select.value)) &&
      words.every((word) => [set.id, ...set.labels, ...set.descriptions].join(" ").toLowerCase().includes(word)));
  }

  function compare(column) {
    const direction = table.descending ? -1 : 1;
    return (a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (x === null || y === null) return (x === null) - (y === null); // missing values come last in both directions
      return direction * (column.text ? x.localeCompare(y, "en", { numeric: true }) : x - y) || a.id.localeCompare(b.id, "en", { numeric: true });
    };
  }

  function showSets() {
    const shownColumns = columns();
    const sorted = shownColumns.find((column) => column.key === table.key) ?? shownColumns.find((column) => column.share) ?? shownColumns[0];
    const found = matching(setFilters, data.sets).sort(compare(sorted));
    const head = shownColumns.map((column) => {
      const order = column === sorted ? (table.descending ? "descending" : "ascending") : null;
      return make("th", { scope: "col", "aria-sort": order, class: column.minor ? "minor" : null }, make("button", { type: "button", "data-key": column.key, onclick: () => {
        Object.assign(table, { key: column.key, descending: column === sorted && !table.descending });
        showSets();
        document.querySelector(`#sets [data-key="${column.key}"]`).focus();
      } }, column.title));
    });
    document.getElementById("sets").replaceChildren(
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...found.slice(0, table.limit).flatMap((set) => setRow(set, shownColumns))));
    document.getElementById("set-status").textContent =
      `${found.length} of ${data.sets.length} problem sets; unscored and ties are sums over the visible scorers.`;
    document.getElementById("more-sets").hidden = found.length <= table.limit;
  }

  function filterSets() {
    table.limit = PAGE;
    showSets();
  }

  const [kindOptions, levelOptions] = kindsAndLevels(data.sets);
  const environmentOptions = [["", "All environments"], ...distinct(data.sets.map((set) => set.environment)).sort().map((name) => [name, name])];
  const setFilters = {
    environment: choice("Environment", environmentOptions, filterSets),
    kind: choice("Kind", kindOptions, filterSets),
    level: choice("Level", levelOptions, filterSets),
    text: make("input", { type: "search", placeholder: "name, label or description", oninput: filterSets }),
  };

  // ---------------------------------------------------------------- hardest

  function openSet(event, set) {
    event.preventDefault();
    setFilters.environment.select.value = setFilters.kind.select.value = setFilters.level.select.value = "";
    setFilters.text.value = set.id;
    table.open.add(set.id);
    filterSets();
    document.getElementById("problem-sets").scrollIntoView();
    document.querySelector(`[data-set="${CSS.escape(set.id)}"] button`).focus({ preventScroll: true });
  }

  function showHardest() {
    const here = data.sets.filter((set) => set.common && ["all", set.environment].includes(state.environment) && meanF1(set) !== null);
    const hardest = here.sort((a, b) => meanF1(a) - meanF1(b) || a.id.localeCompare(b.id, "en", { numeric: true })).slice(0, 10);
    document.getElementById("hardest-nothing").hidden = hardest.length > 0;
    document.querySelector(".hardest").replaceChildren(...hardest.map((set) => make("li", {},
      make("a", { href: "#problem-sets", onclick: (event) => openSet(event, set) }, ...breakable(set.id)),
      make("span", { class: "values" }, ...scorers().map((model) => make("span", {}, swatch(model), ` ${decimal(macroF1(set, model))}`)),
        `${total(set, 3)} unscored, ${total(set, 4)} ties`))));
  }

  // ---------------------------------------------------------------- examples

  const exampleSets = data.examples.map((example) => setOf.get(example.set)).filter(Boolean);
  const [exampleKinds, exampleLevels] = kindsAndLevels(distinct(exampleSets));
  const exampleFilters = {
    kind: choice("Kind", exampleKinds, showExamples),
    level: choice("Level", exampleLevels, showExamples),
    scorer: choice("Scorer", [["", "Any scorer"], ...models.filter((model) => model.scorer).map((model) => [model.index, model.name])], showExamples),
    outcome: choice("Prediction", [["", "Right or wrong"], ["right", "Right"], ["wrong", "Wrong"], ["unscored", "Unscored"]], showExamples),
  };

  function openTranscript(place) {
    document.getElementById(`transcript-${place}`).closest("details").open = true;
  }

  function exampleCard(example) {
    const set = setOf.get(example.set);
    const index = set.videos.indexOf(example.video);
    const seen = visible().filter((model) => example.scores[model.index].some((score) => score !== null) || outcome(set, model, index));
    const verdicts = seen.map((model) => {
      const said = outcome(set, model, index);
      return make("th", { scope: "col" }, heading(model), make("small", { class: said }, said === null ? "" : ` ${said}`));
    });
    const rows = example.labels.map((label, row) => {
      const place = set.labels.indexOf(label);
      const truth = asList(set.truth[index]).includes(place);
      const cells = seen.map((model) => {
        const picked = asList(set.predicted[state.view][model.index]?.[index] ?? []).includes(place);
        return make("td", {}, make("span", { class: picked ? "picked" : null }, decimal(example.scores[model.index][row], 3)),
          picked ? make("span", { class: "visually-hidden" }, " predicted") : null);
      });
      const name = make("th", { scope: "row" }, example.descriptions[row], truth ? make("span", { class: "badge" }, "✓ true") : null);
      return make("tr", { class: truth ? "true" : null }, name, ...cells);
    });
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const video = make("video", { controls: true, loop: true, playsinline: true, preload: "metadata", autoplay: !still,
      "aria-label": `Example video ${example.video}`, src: `data:video/mp4;base64,${data.videos[example.file]}` });
    video.muted = true;
    const transcripts = example.transcripts.map(({ place, run }) => make("p", { class: "path" },
      make("a", { href: `#transcript-${place}`, onclick: () => openTranscript(place) }, `Transcript of ${run}`)));
    const progress = make("template"); // an SVG that Python has drawn and escaped
    progress.innerHTML = example.progress;
    return make("article", { class: "example" },
      make("div", {}, video, make("h3", {}, ...breakable(example.set)), make("p", { class: "path" }, `Level ${set.level}, ${set.kind}`), make("p", { class: "path" }, ...breakable(example.video)), progress.content, ...transcripts),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Descriptions and scores" },
        make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Candidate description"), ...verdicts)), make("tbody", {}, ...rows))));
  }

  function showExamples() {
    const cards = document.getElementById("example-cards");
    if (!cards) return;
    const sets = new Set(matching(exampleFilters, exampleSets));
    const scorer = exampleFilters.scorer.select.value;
    const wanted = exampleFilters.outcome.select.value;
    const asked = models.filter((model) => model.scorer && (scorer === "" || model.index === Number(scorer)));
    const found = data.examples.filter((example) => {
      const set = setOf.get(example.set);
      if (!sets.has(set)) return false;
      const outcomes = asked.map((model) => outcome(set, model, set.videos.indexOf(example.video)));
      return wanted ? outcomes.includes(wanted) : scorer === "" || outcomes[0] !== null;
    });
    cards.replaceChildren(...found.map(exampleCard));
    document.getElementById("example-status").textContent = `${found.length} of ${data.examples.length} examples.`;
  }

  // ---------------------------------------------------------------- choices

  function showAll() {
    showPanels();
    showHardest();
    showSets();
    showExamples();
  }

  const controls = document.querySelector(".controls");
  controls.addEventListener("change", () => {
    const chosen = new FormData(controls);
    state.environment = chosen.get("environment");
    state.view = Math.max(data.rescalings.indexOf(chosen.get("rescaling")), 0);
    state.shown = new Set(chosen.getAll("model").map(Number));
    showAll();
  });
  document.getElementById("set-filters").append(
    setFilters.environment.node, setFilters.kind.node, setFilters.level.node, make("label", {}, "Text", setFilters.text));
  document.getElementById("example-filters")?.append(
    exampleFilters.kind.node, exampleFilters.level.node, exampleFilters.scorer.node, exampleFilters.outcome.node);
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("more-sets").addEventListener("click", () => {
    table.limit += 4 * PAGE;
    showSets();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showPanels);
  controls.reset(); // after a reload, browsers restore the ticks but not the state that belongs to them
  state.environment = new FormData(controls).get("environment");
  showAll();
})();
