"""How the page looks: by day, by night and on paper. All colours have names, and two values."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_LIGHT: Final = """
  --paper: #ffffff; --ink: #1b1f24; --quiet: #545c66; --line: #d0d5db; --shade: #f3f5f7;
  --link: #0b5cad; --good: #1a6b34; --bad: #a8201a; --warn: #8a5300;
  --s0: #1f5fa8; --s1: #b35900; --s2: #1b7a4b; --s3: #8b3a8f; --s4: #a3243b; --s5: #4f6b12;
  --s6: #00707d; --s7: #6b6f76;
"""
_DARK: Final = """
  --paper: #14171b; --ink: #e6e9ed; --quiet: #a7b0ba; --line: #3a424b; --shade: #1d2228;
  --link: #7db7f5; --good: #6fcf8d; --bad: #ff9a90; --warn: #f0b45c;
  --s0: #6ea8ec; --s1: #f0a04b; --s2: #5cc48d; --s3: #d08bd4; --s4: #f08295; --s5: #a9c65a;
  --s6: #4fc3cf; --s7: #9aa1aa;
"""
_PLOTS: Final = "".join(
    f".color-{n} .rect, .color-{n} .dot {{ fill: var(--s{n}); }}\n"
    f".color-{n} .line {{ stroke: var(--s{n}); }}\n"
    f".swatch.s{n} {{ background: var(--s{n}); }}\n"
    for n in range(8)
)

CSS: Final = (
    """
:root { color-scheme: light dark;"""
    + _LIGHT
    + """}
@media (prefers-color-scheme: dark) { :root {"""
    + _DARK
    + """} }
* { box-sizing: border-box; }
html { scroll-behavior: auto; }
body {
  margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 {
  font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul, dl { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }
nav ul { columns: 2; padding-left: 1.2rem; }
.quiet, .none, .empty, caption { color: var(--quiet); }
.verdict { border-left: .35rem solid var(--warn); background: var(--shade); padding: .75rem 1rem; }
.verdict.good { border-color: var(--good); }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
.verdict p { color: var(--ink); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow: auto; max-height: 28rem; margin: .75rem 0 1.25rem; }
table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; padding: .25rem 0; font-weight: 600; }
th, td {
  padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); min-width: 5rem;
}
thead th { position: sticky; top: 0; background: var(--paper); }
tbody th { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-size: .92em; }
time { white-space: nowrap; }
code, .long { overflow-wrap: anywhere; }
figure { margin: 1rem 0; break-inside: avoid; }
figcaption { font-weight: 600; }
svg { display: block; width: 100%; height: auto; max-width: 48rem; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .background { fill: none; stroke: none; }
svg .axis.y text { text-anchor: end; }
svg .axis.x text { text-anchor: middle; }
svg .guide, svg .axis .line { stroke: var(--line); fill: none; }
svg .series .line { fill: none; stroke-width: 2; }
svg .rect { stroke: var(--paper); stroke-width: 1; }
"""
    + _PLOTS
    + """
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
.swatch { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media print {
  :root {"""
    + _LIGHT
    + """}
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  .scroll { overflow: visible; max-height: none; }
  thead th { position: static; }
  h2, h3, figcaption, caption { break-after: avoid; }
  tr { break-inside: avoid; }
  .swatch, svg, .verdict { print-color-adjust: exact; }
}
"""
)

POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)
"""What the page may do: show itself, in this style."""
