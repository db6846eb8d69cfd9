// Small charts over time, as SVG: a line with its area, and what it was at the place that is pointed at.
import { useState } from 'preact/hooks';
import { clock } from './format.js';
import { html } from './html.js';

const WIDTH = 300;

// `points`: [Unix ms, number], oldest first. `show` makes a number into words.
export function Chart({ points, show, label, height = 48, kind = '' }) {
  const [at, look] = useState(null);
  const last = points.at(-1)?.[1] ?? 0;
  if (points.length < 2) return html`<div class="chart empty" style=${{ height: `${height}px` }}></div>`;
  const [from, to] = [points[0][0], points.at(-1)[0]];
  const most = Math.max(...points.map((point) => point[1])) * 1.15 || 1;
  const x = (ms) => ((ms - from) / (to - from)) * WIDTH;
  const y = (n) => height - 1 - (n / most) * (height - 3);
  const line = points.map(([ms, n]) => `${x(ms).toFixed(1)},${y(n).toFixed(1)}`).join(' ');
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const ms = from + ((event.clientX - box.left) / box.width) * (to - from);
    look(points.reduce((best, one) => (Math.abs(one[0] - ms) < Math.abs(best[0] - ms) ? one : best)));
  };
  return html`<div class=${`chart ${kind}`} onMouseMove=${point} onMouseLeave=${() => look(null)}>
    <svg viewBox=${`0 0 ${WIDTH} ${height}`} preserveAspectRatio="none" role="img" aria-label=${`${label}: ${show(last)}`} style=${{ height: `${height}px` }}>
      <polygon points=${`0,${height} ${line} ${WIDTH},${height}`} />
      <polyline points=${line} vector-effect="non-scaling-stroke" />
      ${at && html`<line x1=${x(at[0])} x2=${x(at[0])} y1="0" y2=${height} vector-effect="non-scaling-stroke" />`}
    </svg>
    ${at && html`<span class="at" aria-hidden="true">${clock(at[0])} · ${show(at[1])}</span>`}
  </div>`;
}
