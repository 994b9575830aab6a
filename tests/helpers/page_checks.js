// What test_pages.py asks a page; each function returns what is wrong with it.
const WIDTH = document.documentElement.clientWidth;

// Elements that stick out of the window, other than within a scroller of their own.
const outside = () => [...document.querySelectorAll("main *")]
  .filter((one) => !one.closest(".scroll, pre, .hidden") && one.checkVisibility())
  .filter((one) => one.getBoundingClientRect().right > WIDTH + 1)
  .map((one) => one.outerHTML.slice(0, 80));

// Texts of one plot that lie on one another, or are cut off.
const overlaps = () => [...document.querySelectorAll("svg.plot")].flatMap((plot) => {
  const texts = [...plot.querySelectorAll("text")]
    .map((one) => ({ text: one.textContent, box: one.getBoundingClientRect() }));
  const cut = texts.filter(({ box }) => box.left < 0 || box.right > WIDTH);
  const pairs = texts.flatMap((a, k) => texts.slice(k + 1).map((b) => [a, b]));
  const touching = pairs.filter(([{ box: p }, { box: q }]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 2);
  const name = plot.getAttribute("aria-label");
  return [...cut.map((one) => `${name}: ${one.text} is cut off`),
          ...touching.map(([a, b]) => `${name}: ${a.text} / ${b.text}`)];
});

const channels = (colour) => colour.match(/[\d.]+/g).map(Number);

const luminance = (colour) => {
  const [r, g, b] = channels(colour).map((value) => value / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

const backdrop = (one) => {
  for (; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if ((channels(colour)[3] ?? 1) > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};

// Texts whose contrast with what is behind them is below 4.5, as WCAG 2 counts it.
const faint = () => [...document.querySelectorAll("main *")]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .filter((one) => !one.closest("title, .hidden"))
  .map((one) => {
    const { fill, color } = getComputedStyle(one);
    const [a, b] = [luminance(one.closest("svg") ? fill : color), luminance(backdrop(one))];
    return [one, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  })
  .filter(([, ratio]) => ratio < 4.5)
  .map(([one, ratio]) => `${one.outerHTML.slice(0, 60)}: ${ratio.toFixed(2)}`);
