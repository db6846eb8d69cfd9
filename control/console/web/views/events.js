// Events as sentences, the newest first; of one stream, or of all.
import { useState } from 'preact/hooks';
import { seg } from '../lib/api.js';
import { events } from '../lib/events.js';
import { bytes, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { has, t } from '../lib/text.js';
import { Time } from '../lib/ui.js';
import { useValue } from '../lib/value.js';

const SHOWN = 60;
const KINDS = {
  refused: 'bad', recording_failed: 'bad', watermark_failed: 'bad', hook_failing: 'bad', hook_rolled_back_automatically: 'bad', lost: 'bad',
  publish: 'good', recording_stored: 'good', recording_paused: 'odd', left_out: 'odd', slate_started: 'odd',
};

function sentence(what) {
  const key = `event_${what.kind}`;
  if (!has(key)) return what.kind;
  const given = { ...what };
  if (what.lasted_ms !== undefined) given.lasted = lasting(what.lasted_ms);
  if (what.received_bytes !== undefined) given.received = bytes(what.received_bytes);
  if (what.bytes !== undefined) given.bytes = bytes(what.bytes);
  if (what.duration_ms !== undefined) given.duration = lasting(what.duration_ms);
  if (what.action && has(`action_${what.action}`)) given.action = t(`action_${what.action}`);
  if (what.score !== undefined) given.part = Math.round(what.score * 100);
  if (what.kind === 'motion') return what.active ? t('event_motion', given) : t('event_motion_over', given);
  if (what.kind === 'motion_clip') return what.path ? t('event_motion_clip', given) : t('event_motion_clip_failed', given);
  if (what.kind === 'clip') return what.path ? t('event_clip', given) : t('event_clip_failed', given);
  // An encoder need not say what it is.
  return t(key, given).replace(/\s?[((][))]$/, '');
}

export function Events({ stream = null, heading = t('events') }) {
  const all = useValue(events);
  const [only, choose] = useState('all');
  const shown = all.filter((told) => (!stream || told.stream === stream) && (only === 'all' || KINDS[told.what.kind] === 'bad'));
  return html`<section class="events" aria-labelledby="events">
    <header class="row"><h2 id="events">${heading}</h2>
      <label class="check"><input type="checkbox" checked=${only !== 'all'} onChange=${(event) => choose(event.target.checked ? 'bad' : 'all')} />${t('events_bad')}</label></header>
    ${shown.length === 0 && html`<p class="quiet">${t('no_events')}</p>`}
    <ol aria-live="polite" aria-relevant="additions">${shown.slice(0, SHOWN).map((told) => html`<li key=${told.number} class=${KINDS[told.what.kind] ?? ''} data-kind=${told.what.kind}>
      <${Time} ms=${told.at_unix_ms} short />
      <div>${!stream && told.stream && html`<a href=${`#/streams/${seg(told.stream)}`}>${told.stream}</a> `}
        <span dir="auto">${sentence(told.what)}</span>${told.what.count > 1 && told.what.kind === 'refused' && html` <b>×${number(told.what.count)}</b>`}
        ${told.peer && html`<span class="quiet"> ${told.protocol} ${told.peer}</span>`}</div>
    </li>`)}</ol>
  </section>`;
}
