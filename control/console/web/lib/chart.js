// A figure over time, drawn by uPlot: a line with its area, and what it was at the place that is pointed at. With `axes` larger, with times and values beside it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { clock, minute } from './format.js';
import { html } from './html.js';
import { script } from './script.js';

const VALUES_WIDTH = 78;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Below this length times are told with seconds.
const SECONDS_BELOW_S = 600;
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];

function settings({ axes, whole, sync, show, width, height, look }) {
  // Asked for at each drawing, so that a change of the theme shows.
  const axis = (more) => ({ stroke: () => colour('--quiet'), grid: { stroke: () => colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui', ...more });
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, ...(sync && { sync: { key: sync } }) },
    padding: axes ? [6, 28, 0, 0] : [2, 0, 1, 0],
    scales: { x: { time: true }, y: { range: (_, least, most) => [0, (most || 0) * 1.15 || 1] } },
    axes: axes ? [
      axis({ space: 80, size: 22, values: ({ scales: { x } }, splits) => splits.map((s) => (x.max - x.min < SECONDS_BELOW_S ? clock : minute)(s * 1000)) }),
      axis({ space: 34, size: VALUES_WIDTH, ...(whole && { incrs: WHOLE }), values: (_, splits) => splits.map(show) }),
    ] : [{ show: false }, { show: false }],
    series: [{}, { stroke: () => colour('--brand'), width: 1.5, fill: () => `${colour('--brand')}22`, points: { show: false } }],
    hooks: { setCursor: [({ cursor: { idx, left } }) => look(left >= 0 ? idx : null)] },
  };
}

// `at` and `values`: times in seconds, and what was then, oldest first; `null` where there was nothing. `show` makes a value into words. Charts of one `sync` are
// pointed at together; `whole`: there are no parts of its values.
export function Chart({ at, values, show, label, height = 48, axes = false, whole = false, sync = null }) {
  const box = useRef(null);
  const plot = useRef(null);
  const data = useRef(null);
  const [place, look] = useState(null);
  data.current = [at, values];
  const enough = at.length > 1;
  useEffect(() => {
    if (!enough) return undefined;
    let open = true;
    // The element is gone a moment before its effect is.
    const size = () => ({ width: Math.max(box.current?.clientWidth ?? 0, 1), height });
    const observer = new ResizeObserver(() => plot.current?.setSize(size()));
    script('uPlot').then((UPlot) => {
      if (!open) return;
      plot.current = new UPlot(settings({ axes, whole, sync, show, ...size(), look }), data.current, box.current);
      observer.observe(box.current);
    }).catch(() => { /* The number beside it is there all the same. */ });
    return () => {
      open = false;
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [enough, axes, sync, height]);
  useEffect(() => { plot.current?.setData(data.current); }, [at, values]);
  const last = values.at(-1) ?? 0;
  const pointed = place === null || at[place] === undefined ? null : [at[place] * 1000, values[place]];
  return html`<div class="chart" role="img" aria-label=${`${label}: ${show(last)}`} style=${{ minHeight: `${height}px` }}>
    <div class="plot" ref=${box}></div>
    ${pointed && html`<span class="at" aria-hidden="true">${clock(pointed[0])} · ${pointed[1] === null ? '–' : show(pointed[1])}</span>`}
  </div>`;
}
