"use strict";
// Small helpers. Text of the data enters the page as textContent only, so that labels and file names are never markup.

/** Make an element with attributes and children; strings become text nodes. */
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
const decimal = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const asList = (prediction) => (Array.isArray(prediction) ? prediction : [prediction]);
const distinct = (values) => [...new Set(values)];

/** Tell screen readers what has changed. */
function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Make a labelled drop-down of [value, text] pairs. */
function choice(title, options, onchange) {
  const select = make("select", { onchange });
  for (const [value, text] of options) select.append(make("option", { value }, text));
  return { select, node: make("label", {}, title, select) };
}
