"use strict";
// Figures in the colours of the page's theme. The specifications name CSS variables, which plotly does not resolve.
(() => {
  const plots = document.getElementById("data").textContent;

  function draw() {
    const theme = getComputedStyle(document.documentElement);
    const painted = JSON.parse(plots.replace(/var\((--[\w-]+)\)/g, (_, name) => theme.getPropertyValue(name).trim()));
    document.querySelectorAll(".plot").forEach((node, place) => {
      const { data, layout } = painted[place];
      Plotly.react(node, data, layout, { displayModeBar: false, responsive: true });
    });
    for (const svg of document.querySelectorAll("svg")) svg.setAttribute("aria-hidden", "true");
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
