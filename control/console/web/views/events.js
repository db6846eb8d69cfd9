// Events as sentences, the newest first; of one stream, or of all.
import { useEffect, useState } from 'preact/hooks';
import { seg, session } from '../lib/api.js';
import { events } from '../lib/events.js';
import { bytes, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { baseAt, filesOf } from '../lib/places.js';
import { has, t } from '../lib/text.js';
import { Time } from '../lib/ui.js';
import { useValue } from '../lib/value.js';
import { Picture } from './motion.js';

const SHOWN = 60;
const KINDS = {
  refused: 'bad', recording_failed: 'bad', watermark_failed: 'bad', rendition_failed: 'bad', hook_failing: 'bad', hook_rolled_back_automatically: 'bad', lost: 'bad',
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
  if (what.kind === 'unpublish' && has(`ended_${what.why}`)) given.why = t(`ended_${what.why}`);
  if (what.score !== undefined) given.part = Math.round(what.score * 100);
  if (what.kind === 'motion') return what.active ? t('event_motion', given) : t('event_motion_over', given);
  if (what.kind === 'motion_clip') return what.path ? t('event_motion_clip', given) : t('event_motion_clip_failed', given);
  if (what.kind === 'clip') return what.path ? t('event_clip', given) : t('event_clip_failed', given);
  // An encoder need not say what it is.
  return t(key, given).replace(/\s?[((][))]$/, '');
}

// Where a stream's files are at the node that told of them, or at the fleet's address; asked once for a stream.
const bases = new Map();
session.follow((who) => { if (!who) bases.clear(); });
async function below(stream, node) {
  if (!bases.has(stream)) {
    bases.set(stream, filesOf(stream).catch(() => []));
    setTimeout(() => bases.delete(stream), 60000);
  }
  return baseAt(await bases.get(stream), node);
}

// The picture of a motion that has begun, or its film.
function OfMotion({ told }) {
  const path = told.what.picture || told.what.path;
  const [base, find] = useState(null);
  useEffect(() => {
    let open = true;
    below(told.stream, told.node).then((url) => { if (open) find(url); });
    return () => { open = false; };
  }, [told.stream, told.node]);
  if (!base || !path) return null;
  const url = base + path;
  if (told.what.kind === 'motion_clip') return html` <a href=${url} target="_blank" rel="noopener noreferrer">${t('motion_film')}</a>`;
  return html`<${Picture} key=${url} url=${url} />`;
}

// What comes again and again: one line for those in a row that differ in nothing but their moment.
const ROUTINE = ['recording_file', 'snapshot', 'recording_thumbnails'];

function folded(all) {
  const lines = [];
  for (const told of all) {
    const last = lines.at(-1);
    if (last && ROUTINE.includes(told.what.kind) && last.told.what.kind === told.what.kind && last.told.stream === told.stream) {
      last.times += 1;
      // A line that grows stays the same line.
      last.key = told.number;
    }
    else lines.push({ told, times: 1, key: told.number });
  }
  return lines;
}

export function Events({ stream = null, heading = t('events') }) {
  const all = useValue(events);
  const [only, choose] = useState('all');
  const shown = all.filter((told) => (!stream || told.stream === stream) && (only === 'all' || KINDS[told.what.kind] === 'bad'));
  return html`<section class="events" aria-labelledby="events">
    <header class="row"><h2 id="events">${heading}</h2>
      <label class="check"><input type="checkbox" checked=${only !== 'all'} onChange=${(event) => choose(event.target.checked ? 'bad' : 'all')} />${t('events_bad')}</label></header>
    ${shown.length === 0 && html`<p class="quiet">${t('no_events')}</p>`}
    <ol aria-live="polite" aria-relevant="additions">${folded(shown).slice(0, SHOWN).map(({ told, times, key }) => html`<li key=${key} class=${KINDS[told.what.kind] ?? ''} data-kind=${told.what.kind}>
      <${Time} ms=${told.at_unix_ms} short />
      <div>${!stream && told.stream && html`<a href=${`#/streams/${seg(told.stream)}`}>${told.stream}</a> `}
        <span dir="auto">${sentence(told.what)}</span>${told.what.count > 1 && told.what.kind === 'refused' && html` <b>×${number(told.what.count)}</b>`}${times > 1 && html` <b>×${number(times)}</b>`}
        ${told.peer && html`<span class="quiet"> ${told.protocol} ${told.peer}</span>`}
        ${(told.what.kind === 'motion' && told.what.active || told.what.kind === 'motion_clip') && html`<${OfMotion} told=${told} />`}</div>
    </li>`)}</ol>
  </section>`;
}
