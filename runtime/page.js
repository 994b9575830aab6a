// What the pages do: sort tables, show values of plots, slide one picture over another.
// Without it everything can still be read.
"use strict";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// ---- Tables: a click on a heading sorts, a second one turns the order round.

// The number that a cell shows, of an interval its lower end; NaN for words, null for a gap.
const valueOf = (text) => {
  const plain = text.split("…")[0].replace(/−/g, "-").trim().replace(/\s*[×%]$/, "");
  return plain === "" || plain === "–" ? null : Number(plain);
};

const compare = (a, b, sign) => {
  const [x, y] = [valueOf(a), valueOf(b)];
  if (x === null || y === null) return (x === null) - (y === null); // gaps last, either way
  if (Number.isNaN(x) || Number.isNaN(y)) {
    return sign * a.localeCompare(b, undefined, { numeric: true });
  }
  return sign * (x - y);
};

const sortBy = (heading) => {
  const table = heading.closest("table");
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const text = (row) => {
    const cell = row.cells[heading.cellIndex];
    return cell.dataset.value ?? cell.textContent;
  };
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(text(a), text(b), down ? -1 : 1));
  body.append(...rows);
};

for (const heading of document.querySelectorAll("table.sort thead th")) {
  if (!heading.textContent) continue;
  const button = make("button", { type: "button" }, ...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading));
  heading.append(button);
}

// ---- Plots: the values of the nearest mark follow the pointer, the finger or the arrow keys.

const REACH = 28; // pixels from a mark at which it still answers
const tip = document.body.appendChild(make("div", { id: "tip", role: "status" }));
let lit = [];

const hide = () => {
  lit.forEach((mark) => mark.classList.remove("on"));
  lit = [];
  tip.textContent = "";
};

const show = (marks, spot) => {
  hide();
  if (!marks.length) return;
  lit = marks;
  marks.forEach((mark) => mark.tagName === "svg" || mark.classList.add("on"));
  tip.textContent = marks.map((mark) => mark.dataset.tip).join("\n");
  const box = marks[0].getBoundingClientRect();
  const [x, top] = spot ?? [box.left + box.width / 2, box.top];
  const left = Math.min(x - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = Math.min(top, box.top) - tip.offsetHeight - 10;
  tip.style.left = `${Math.max(left, 8)}px`;
  tip.style.top = `${above < 4 ? box.bottom + 12 : above}px`;
};

// The marks nearest to a spot; several where they lie on one another.
const nearest = (marks, x, y) => {
  const far = (mark) => {
    const box = mark.getBoundingClientRect();
    const outside = (at, low, high) => Math.max(low - at, 0, at - high);
    const gap = Math.hypot(outside(x, box.left, box.right), outside(y, box.top, box.bottom));
    const [cx, cy] = [box.left + box.width / 2, box.top + box.height / 2];
    return { mark, gap, cx, cy, centre: Math.hypot(x - cx, y - cy) };
  };
  const found = marks.map(far).filter((one) => one.gap < REACH);
  if (!found.length) return [];
  const best = found.reduce((a, b) => (b.gap - a.gap || b.centre - a.centre) < 0 ? b : a);
  const same = found.filter((one) => Math.hypot(one.cx - best.cx, one.cy - best.cy) < 4);
  return (same.length <= 4 ? same : [best]).map((one) => one.mark);
};

for (const plot of document.querySelectorAll("svg")) {
  const marks = [...plot.querySelectorAll("title")].map((title) => {
    const mark = title.parentElement;
    mark.dataset.tip = title.textContent;
    title.remove();
    return mark;
  });
  if (!marks.length) continue;
  const follow = (event) => show(nearest(marks, event.clientX, event.clientY), [event.clientX, event.clientY]);
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  if (!plot.classList.contains("plot")) continue;
  let at = 0;
  plot.tabIndex = 0;
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && show([marks[at]]));
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const last = marks.length - 1;
    const to = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last,
    }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    event.preventDefault();
    at = Math.min(Math.max(to, 0), last);
    show([marks[at]]);
  });
}
document.addEventListener("pointerdown", (event) => event.target.closest("svg") || hide());
const scrolled = () => lit.length && document.activeElement.matches("svg:focus-visible") ? show(lit) : hide();
document.addEventListener("scroll", scrolled, { passive: true, capture: true });

// ---- Pictures: a viewer in front of each set of strips, which fold up.

const choice = (label, names, chosen) => {
  const options = names.map((name) => make("option", {}, name));
  const select = make("select", { "aria-label": label }, ...options);
  select.selectedIndex = chosen;
  return select;
};

const addViewer = (strips) => {
  const samples = [...strips.querySelectorAll(".strip")].map((strip) =>
    [...strip.querySelectorAll("figure")].map((figure) => ({
      name: figure.dataset.name,
      note: figure.querySelector("small").textContent,
      image: figure.querySelector("img"),
    })));
  const names = samples[0].map((picture) => picture.name);
  if (names.length < 2) return;
  const left = choice("left picture", names, Math.max(names.indexOf(strips.dataset.left), 0));
  const right = choice("right picture", names, Math.max(names.indexOf(strips.dataset.right), 0));
  const [under, over] = [make("img", { draggable: "false" }), make("img", { draggable: "false" })];
  const divider = make("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "where the two pictures meet, % from the left" });
  const stage = make("div", { class: "stage" }, under, over, divider, make("span"));
  const told = make("p", { class: "told", "aria-live": "polite" });
  let sample = 0;

  const update = () => {
    const [a, b] = [samples[sample][left.selectedIndex], samples[sample][right.selectedIndex]];
    [over.src, over.alt, under.src, under.alt] = [a.image.src, a.image.alt, b.image.src, b.image.alt];
    told.textContent = [a, b].filter((p) => p.note).map((p) => `${p.name}: ${p.note}`).join(" · ");
    thumbs.forEach((thumb, k) => thumb.setAttribute("aria-pressed", k === sample));
  };
  const slide = () => stage.style.setProperty("--at", `${divider.value}%`);
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    divider.value = (100 * (event.clientX - box.left)) / box.width;
    slide();
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    divider.focus({ preventScroll: true, focusVisible: false });
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && drag(event));
  divider.addEventListener("input", slide);
  for (const select of [left, right]) select.addEventListener("change", update);

  const thumbs = samples.map((pictures, k) => {
    const name = strips.querySelectorAll("h4")[k].textContent;
    const thumb = make("button", { type: "button", title: name }, make("img", { src: pictures[0].image.src, alt: name }));
    thumb.addEventListener("click", () => { sample = k; update(); });
    return thumb;
  });
  const viewer = make("div", { class: "viewer" }, make("div", { class: "sides" }, left, right), stage, told);
  if (samples.length > 1) viewer.append(make("div", { class: "samples" }, ...thumbs));
  (strips.parentElement.querySelector(".legend") ?? strips).before(viewer);
  const fold = make("details", {}, make("summary", {}, "All pictures side by side"));
  strips.before(fold);
  fold.append(strips);
  update();
};

document.querySelectorAll(".strips").forEach(addViewer);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
