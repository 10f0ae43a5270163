"use strict";
// Sorting of the overview, the correction for chance, sharing, and the first state of the page.

/** Make the heads of an overview sort its rows; the pinned row of chance stays last. */
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const title = head.querySelector(".head");
    if (!title) return;
    const button = make("button", { type: "button", onclick: () => {
      const descending = head.getAttribute("aria-sort") !== "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = document.getElementById("corrected").checked ? "corrected" : "value";
      const value = (row) => (row.cells[column].dataset[key] ? Number(row.cells[column].dataset[key]) : -Infinity);
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => a.classList.contains("pinned") - b.classList.contains("pinned") || (descending ? value(b) - value(a) : value(a) - value(b)));
      table.tBodies[0].append(...rows);
      announce(`Sorted by ${title.textContent}, ${descending ? "highest" : "lowest"} first.`);
    } });
    title.replaceWith(button);
    button.append(title);
  });
}

function showCorrected() {
  const corrected = document.getElementById("corrected").checked;
  for (const cell of document.querySelectorAll(".sortable td[data-value]")) {
    const value = corrected ? cell.dataset.corrected : cell.dataset.value;
    cell.querySelector(".f1").textContent = value === "" ? "–" : decimal(Number(value));
    cell.querySelector("small").hidden = corrected; // the interval is that of macro F1
  }
}

for (const table of document.querySelectorAll(".sortable")) makeSortable(table);
document.getElementById("corrected").addEventListener("change", () => {
  showCorrected();
  writeAddress();
});
addressParts.set("corrected", [() => (document.getElementById("corrected").checked ? "1" : ""), () => {
  document.getElementById("corrected").checked = true;
  showCorrected();
}]);

document.getElementById("share").addEventListener("click", async (event) => {
  writeAddress();
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The address bar has it"; // browsers refuse the clipboard to some pages
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = "Copy link"; }, 2000);
});

controls.addEventListener("change", (event) => {
  readControls();
  showState();
  writeAddress();
  const names = visible().map((model) => model.name).join(", ") || "no scorer";
  const where = event.target.name === "environment" ? `Environment ${state.environment}. ` : "";
  announce(`${where}The figures show ${names}.`);
});
for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", readAddress);
for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
controls.reset(); // after a reload, browsers restore the ticks but not the state that belongs to them
readControls();
showState();
readAddress();
