// A stream's recordings of the last days on their hours: a row for each day, a bar for each recording, which opens it.
import { useMemo } from 'preact/hooks';
import { date, lasting, weekday } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { useList } from '../lib/use.js';

const DAYS = 7;
const HOURS = [0, 6, 12, 18, 24];
// What can be shown of so many recordings is one bar beside another.
const BARS_MAX = 500;

function midnight(ms) {
  const at = new Date(ms);
  at.setHours(0, 0, 0, 0);
  return at.getTime();
}

// The days, the newest first, each with its beginning and its end: a day may have 23 or 25 hours.
function daysOf(now) {
  const days = [];
  for (let end = midnight(midnight(now) + 36 * 3600000); days.length < DAYS; end = days.at(-1).from) days.push({ from: midnight(end - 12 * 3600000), to: end });
  return days;
}

export function Timeline({ stream, open }) {
  const now = Date.now();
  const today = midnight(now);
  const days = useMemo(() => daysOf(today), [today]);
  const first = days.at(-1).from;
  // One that began before the first day may reach into it; one that still grows may have begun at any time.
  const list = useList('recordings', { params: { stream, from: first - DAYS * 86400000 }, limit: BARS_MAX });
  const growing = useList('recordings', { params: { stream, state: 'recording' }, limit: BARS_MAX });
  // One that grows has no length yet that anybody was told: it goes up to now.
  const lastsOf = (one) => (one.state === 'recording' ? Math.max(now - one.started_unix_ms, 0) : one.duration_ms);
  const endOf = (one) => one.started_unix_ms + Math.max(lastsOf(one) ?? 0, 1000);
  const all = new Map(list.items.concat(growing.items).map((one) => [one.recording, one]));
  const there = [...all.values()].filter((one) => endOf(one) > first);
  if (!there.length) return null;
  // A page that is not full has gone back further than the first day.
  const more = list.next && list.items.length >= BARS_MAX && list.items.at(-1).started_unix_ms > first;
  return html`<section class="timeline"><h2>${t('timeline')}</h2><p class="quiet">${t('timeline_text', { days: DAYS })}${more && html` <b>${t('timeline_newest', { count: BARS_MAX })}</b>`}</p>
    ${days.map(({ from, to }) => html`<div class="day" key=${from}><span class="quiet">${weekday(from)}</span><div class="track">
      ${there.filter((one) => one.started_unix_ms < to && endOf(one) > from).map((one) => {
        const left = ((Math.max(one.started_unix_ms, from) - from) / (to - from)) * 100;
        const right = ((Math.min(endOf(one), to) - from) / (to - from)) * 100;
        const words = t('timeline_bar', { from: date(one.started_unix_ms), lasted: lasting(lastsOf(one)) });
        return html`<button type="button" key=${one.recording} class=${`bar ${one.state}`} style=${{ left: `${left}%`, width: `${right - left}%` }} title=${words} aria-label=${words} onClick=${() => open(one)}></button>`;
      })}</div></div>`)}
    <div class="day" aria-hidden="true"><span></span><div class="hours">${HOURS.map((hour) => html`<small key=${hour}>${String(hour).padStart(2, '0')}:00</small>`)}</div></div>
  </section>`;
}
