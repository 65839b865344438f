// Sorts a table by the column whose heading is pressed, rows without a value last; filters the list beside a form.
"use strict";
const textOf = (cell) => cell.dataset.sort ?? cell.textContent.trim();
const valueOf = (row, column) => {
  const text = textOf(row.cells[column]);
  const number = Number(text);
  return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number;
};
const collator = new Intl.Collator();
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
// Laying out hundreds of rows takes the longest: those that can be seen are put in order first, the rest once they are.
const AT_ONCE = 60;
const orders = new Map();
const arrange = (body, order) => {
  orders.set(body, order);
  body.prepend(...order.filter((row) => !row.hidden).slice(0, AT_ONCE));
  requestAnimationFrame(() => setTimeout(() => orders.get(body) === order && body.append(...order)));
};
for (const button of document.querySelectorAll("th > button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const body = heading.closest("table").tBodies[0];
    const column = Number(button.dataset.column ?? heading.cellIndex);
    // Numbers are wanted largest first, words from A.
    const numeric = heading.classList.contains("num");
    const before = heading.getAttribute("aria-sort");
    const descending = before === null ? numeric : before === "ascending";
    for (const other of heading.closest("thead").querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = (orders.get(body) ?? [...body.rows]).map((row) => ({ row, value: valueOf(row, column) }));
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return descending ? compare(b.value, a.value) : compare(a.value, b.value);
    });
    arrange(body, rows.map(({ row }) => row));
  });
}
for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...form.parentElement.querySelector("table").tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const fields = [...form.querySelectorAll("input, select")];
  const start = `#${form.parentElement.id}?`;
  const show = () => {
    const words = form.elements.find.value.toLowerCase().split(/\s+/);
    const chosen = fields.filter((field) => field.dataset.column && field.value);
    let count = 0;
    rows.forEach((row, place) => {
      const isShown =
        words.every((word) => texts[place].includes(word)) &&
        chosen.every((field) => textOf(row.cells[field.dataset.column]) === field.value);
      row.hidden = !isShown;
      count += isShown;
    });
    form.querySelector("output").textContent = `${count} of ${rows.length} shown`;
  };
  const keep = () => {
    show();
    // The address says what is shown, so that a bookmark does too.
    const set = fields.filter((field) => field.value).map((field) => [field.name, field.value]);
    history.replaceState(null, "", set.length ? start + new URLSearchParams(set) : `#${form.parentElement.id}`);
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", keep);
  form.addEventListener("change", keep);
  form.addEventListener("reset", () => setTimeout(keep));
  if (location.hash.startsWith(start)) {
    const set = new URLSearchParams(location.hash.slice(start.length));
    for (const field of fields) field.value = set.get(field.name) ?? "";
    form.parentElement.scrollIntoView();
    show();
  }
}
// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
