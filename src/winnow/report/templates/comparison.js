"use strict";

// Sorting: numbers by their value, unknown ones last whichever way; the rest by its text.
const table = document.getElementById("table");

function keyOf(row, place) {
  const cell = row.cells[place];
  const text = cell.textContent.trim();
  return { text, number: cell.dataset.sort ? Number(cell.dataset.sort) : NaN, known: text !== "" };
}

function compared(first, second) {
  const bothNumbers = !Number.isNaN(first.number) && !Number.isNaN(second.number);
  return bothNumbers ? first.number - second.number : first.text.localeCompare(second.text, "en", { numeric: true });
}

table.tHead.addEventListener("click", (event) => {
  const heading = event.target.closest("th");
  const down = heading.getAttribute("aria-sort") === "descending";
  const upFirst = heading.cellIndex === 0 && heading.getAttribute("aria-sort") === "none";
  const sign = down || upFirst ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, heading.cellIndex), row]);
  rows.sort(([one], [two]) => (one.known === two.known ? sign * compared(one, two) : two.known - one.known));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
});

// Examples: those that fit, a few at a time.
const form = document.getElementById("filter");
const STEP = 20;
let shown = STEP;

function filter() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const arm = document.getElementById("arm").value;
  const end = document.getElementById("end").value;
  const all = [...document.querySelectorAll(".example")];
  const fits = all.filter((example) => {
    if ((arm && example.dataset.arm !== arm) || (end && example.dataset.end !== end)) return false;
    const text = example.textContent.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const seen = new Set(fits.slice(0, shown));
  for (const example of all) example.hidden = !seen.has(example);
  document.getElementById("found").textContent = `${seen.size} of ${fits.length} that fit, of ${all.length} examples`;
  document.getElementById("more").hidden = seen.size === fits.length;
}

if (form) {
  const again = () => {
    shown = STEP;
    filter();
  };
  form.addEventListener("input", again);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("more").addEventListener("click", () => {
    shown += STEP;
    filter();
  });
  filter();
}

// Figures, in the page's colours.
const figures = JSON.parse(document.getElementById("figures").textContent);
const narrow = window.matchMedia("(max-width: 640px)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const ON_DARK = ["#5aa9ee", "#ffb534", "#ff7a66", "#b3bfbd", "#c58af9", "#cf9584", "#ff9340", "#cfc48d", "#a2a6b0", "#92dadd"];

const ABOVE = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
const BESIDE = { orientation: "v", x: 1.02, y: 1 };
const BUTTONS = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];

function themed(figure) {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { gridcolor: color("--line"), zerolinecolor: color("--soft"), linecolor: color("--line"), automargin: true };
  const { xaxis, yaxis, legend, ...layout } = figure.layout;
  for (const trace of figure.data) {
    if (trace.type === "bar" && trace.error_y) trace.error_y = { ...trace.error_y, color: color("--ink"), thickness: 1.5 };
    if (trace.marker?.symbol?.endsWith("-open")) trace.marker = { ...trace.marker, color: color("--ink") };
  }
  return {
    ...layout,
    colorway: dark.matches ? ON_DARK : layout.colorway,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--accent") },
    font: { color: color("--ink"), family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: color("--raised"), bordercolor: color("--line"), font: { color: color("--ink") } },
    shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: color("--soft") } })),
    margin: { l: 48, r: 12, t: 36, b: 48 },
    legend: { ...legend, ...(narrow.matches || figure.data.length < 9 ? ABOVE : BESIDE) },
    xaxis: { ...xaxis, ...axis },
    yaxis: { ...yaxis, ...axis },
  };
}

function draw() {
  figures.forEach(({ figure }, place) => {
    const plot = document.getElementById(`plot-${place + 1}`);
    const displayModeBar = narrow.matches ? false : "hover";
    const options = { responsive: true, displaylogo: false, displayModeBar, modeBarButtons: BUTTONS };
    Plotly.react(plot, figure.data, themed(figure), options);
  });
}

draw();
for (const look of [dark, narrow]) look.addEventListener("change", draw);
