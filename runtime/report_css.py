"""The style sheet of `runtime.page_html`; light or dark as the reader's system is."""

CSS = """
:root {
  --page: #f5f6f8; --card: #ffffff; --ink: #18202b; --soft: #5b6675; --line: #dfe3e9;
  --s0: #6b7a90; --s1: #2a78d6; --s2: #e0731d; --s3: #3a9a5b; --warn: #fff3d6; --warnink: #6b4a00;
  --good: #1f7a44; --bad: #c0303c;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #1a2029; --ink: #e8ecf2; --soft: #9aa7b8; --line: #303947;
    --s0: #93a3ba; --s1: #5aa2f5; --s2: #f2924a; --s3: #62c285; --warn: #3b2f12; --warnink: #f5dfa8;
    --good: #62c285; --bad: #f2767f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1200px; margin: 0 auto; padding: 40px 20px 64px; }
header { margin-bottom: 28px; }
.kicker { margin: 0; color: var(--soft); font-size: 14px; }
h1 {
  margin: 6px 0 10px; font-size: clamp(26px, 4.6vw, 40px); line-height: 1.15;
  text-wrap: balance;
}
h2 { margin: 0 0 14px; font-size: 18px; }
h3 { margin: 20px 0 8px; font-size: 13px; font-weight: 500; color: var(--soft); }
.facts { margin: 0; color: var(--soft); }
.warning { padding: 10px 14px; border-radius: 8px; background: var(--warn); color: var(--warnink); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin-top: 24px; }
.tiles div, section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; min-width: 0;
}
.tiles div { padding: 14px 18px; }
.tiles strong { display: block; font-size: 26px; line-height: 1.25; }
.tiles span { color: var(--soft); font-size: 14px; }
section { padding: 22px 24px; margin-bottom: 20px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
.good { color: var(--good); } .bad { color: var(--bad); }
.note { margin: 12px 0 0; color: var(--soft); font-size: 14px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { padding-left: 0; text-align: left; font-weight: 400; color: var(--soft); }
thead th { font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
i { display: inline-block; width: 11px; height: 11px; margin-right: 7px; border-radius: 3px; }
i.s0 { background: var(--s0); } i.s1 { background: var(--s1); }
i.s2 { background: var(--s2); } i.s3 { background: var(--s3); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 10px; font-size: 14px; }
.strip { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 10px; }
figure { margin: 0; cursor: zoom-in; outline: none; }
figure:focus-visible img { box-shadow: 0 0 0 2px var(--s1); }
img { display: block; width: 100%; border-radius: 6px; }
figure:focus img {
  position: fixed; inset: 0; z-index: 1; height: 100%; padding: 2vmin; object-fit: contain;
  background: rgb(0 0 0 / 85%); border-radius: 0; pointer-events: none;
}
figcaption { padding-top: 4px; font-size: 14px; }
small { color: var(--soft); font-size: 13px; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
pre {
  margin: 0 0 18px; padding: 14px 16px; border-radius: 8px; background: var(--page);
  font: 13px/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  white-space: pre; overflow-x: auto;
}
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
dl {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 12px 20px;
  margin: 0;
}
dt { color: var(--soft); font-size: 13px; } dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--soft); } svg .axis { font-size: 12.5px; }
svg .label { fill: var(--ink); } 
svg .grid { stroke: var(--line); }
svg .s0 { --c: var(--s0); } svg .s1 { --c: var(--s1); }
svg .s2 { --c: var(--s2); } svg .s3 { --c: var(--s3); }
svg .bar { fill: var(--c); } svg .dot { fill: var(--c); stroke: var(--card); stroke-width: 1.5; }
svg .curve { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
svg.cell { width: 180px; } svg.s1 { --c: var(--s1); }
svg .span { stroke: var(--c); stroke-width: 2.5; stroke-linecap: round; }
svg .mark { stroke: var(--bad); stroke-dasharray: 3 3; }
svg .faint { stroke-width: 1; opacity: 0.35; }
@media (max-width: 720px) {
  main { padding: 24px 12px 40px; } section { padding: 16px 14px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles strong { font-size: 22px; }
  .pair { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .strip { grid-template-columns: 1fr 1fr; }
  .strip figure:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
  th, td { padding: 7px 6px; font-size: 14px; }
  .wide { display: none; } svg.cell { width: 110px; }
  svg, svg .axis { font-size: 14px; }
}
"""
