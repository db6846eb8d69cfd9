// Recordings: what there is, its player, its files, parts of it, and its end.
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, seg } from '../lib/api.js';
import { events } from '../lib/events.js';
import { bytes, lasting } from '../lib/format.js';
import { html } from '../lib/html.js';
import { baseOf } from '../lib/places.js';
import { t } from '../lib/text.js';
import { Act, Dialog, Field, More, Rest, Table, Tag, Time, Why } from '../lib/ui.js';
import { useAsked, useList } from '../lib/use.js';
import { useValue } from '../lib/value.js';
import { Timeline } from './timeline.js';

const STATES = { recording: 'live', paused: 'odd', stored: '', failed: 'bad', deleting: 'odd' };
const CLIP_STATES = { queued: 'odd', running: 'odd', ready: '', failed: 'bad' };

const DAY_MS = 86400000;
const TOLD_MS = 1000;
// Longest clip.
const WHOLE_MAX_MS = 12 * 3600000;

// When it is removed by itself: so many days after all of it was stored, and one more where it lacks something and may go on.
function untilOf(one, days) {
  if (!days || !['stored', 'failed'].includes(one.state)) return null;
  return one.told_unix_ms + (one.state === 'failed' ? days + 1 : days) * DAY_MS;
}

// "1:02:03.5", "62:03" or seconds, as milliseconds; `NaN` where it is none of these.
export function fromClock(text) {
  const parts = text.trim().split(':');
  if (!parts.length || parts.length > 3 || parts.some((part) => !/^\d+(\.\d+)?$/.test(part))) return NaN;
  if (parts.slice(1).some((part) => Number(part) >= 60)) return NaN;
  return Math.round(parts.reduce((sum, part) => sum * 60 + Number(part), 0) * 1000);
}

function Clips({ recording, base }) {
  const asked = useAsked(`recordings/${seg(recording.recording)}/clips`, 3000);
  const [given, set] = useState({ from: '0:00', to: '' });
  const [state, say] = useState({ busy: false, problem: null });
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  const [from, to] = [fromClock(given.from), fromClock(given.to)];
  const length = recording.duration_ms || Infinity;
  const make = async (event, span = { from, to }) => {
    event.preventDefault();
    say({ busy: true, problem: null });
    let problem = null;
    try {
      await call('POST', `recordings/${seg(recording.recording)}/clips`, { json: span });
      asked.again();
    } catch (failed) {
      problem = failed;
    }
    say({ busy: false, problem });
  };
  const items = asked.data?.items ?? [];
  const outside = (name, ms) => (name === 'to' && ms <= from ? t('wrong_span') : ms > length + 1000 ? t('wrong_past_end', { length: lasting(length) }) : '');
  const typed = (name, ms) => (!given[name] ? '' : Number.isNaN(ms) ? t('wrong_clock') : outside(name, ms));
  const wrong = (name, ms) => state.problem?.of?.(name) || typed(name, ms);
  return html`<h3>${t('clips')}</h3>
    <form class="row wrap end-aligned" onSubmit=${make}>
      <${Field} label=${t('from')} wrong=${wrong('from', from)}>${(field) => html`<input ...${field} name="from" size="9" placeholder="0:00" value=${given.from} onInput=${change('from')} />`}<//>
      <${Field} label=${t('to')} wrong=${wrong('to', to)}>${(field) => html`<input ...${field} name="to" size="9" placeholder="1:02:03" value=${given.to} onInput=${change('to')} />`}<//>
      <button disabled=${state.busy || Number.isNaN(from) || Number.isNaN(to) || Boolean(typed('from', from) || typed('to', to))}>${t('clip_make')}</button>
      ${length < WHOLE_MAX_MS && html`<button type="button" disabled=${state.busy} onClick=${(event) => make(event, { from: 0, to: length })}>${t('clip_whole')}</button>`}
    </form>
    <${Why} problem=${state.problem} shown=${['from', 'to']} />
    ${items.length > 0 && html`<${Table} caption=${t('clips')} rows=${items} name=${(clip) => clip.clip} columns=${[
      ['span', t('span'), (clip) => `${lasting(clip.from)} – ${lasting(clip.to)}`],
      ['state', t('state'), (clip) => html`<${Tag} kind=${CLIP_STATES[clip.state]}>${t(`clip_${clip.state}`)}<//> ${clip.why}`],
      ['bytes', t('size'), (clip) => bytes(clip.bytes)],
      ['file', t('file'), (clip) => (clip.path && base ? html`<a href=${new URL(clip.path.replace(/^\//, ''), new URL('../', base)).href} target="_blank" rel="noopener noreferrer">MP4</a>` : '–')],
    ]} />`}`;
}

function One({ recording, close }) {
  const asked = useAsked(`recordings/${seg(recording.recording)}`, 5000);
  const [base, find] = useState({ url: null, problem: null, asked: false });
  if (!base.asked) {
    find({ ...base, asked: true });
    baseOf(recording.stream, recording.node).then((url) => find({ url, problem: null, asked: true }), (problem) => find({ url: null, problem, asked: true }));
  }
  const now = asked.data ?? recording;
  const page = base.url && `${base.url}rec/${seg(recording.recording)}/index.html`;
  const files = now.files ?? [];
  return html`<${Dialog} wide title=${`${recording.stream} · ${recording.recording}`} close=${close}>
    <${Why} problem=${asked.problem ?? base.problem} />
    ${page && html`<iframe class="player" src=${page} title=${t('player_of', { name: recording.recording })} allow="autoplay; fullscreen" sandbox="allow-scripts allow-same-origin"></iframe>
      <p class="row wrap"><a href=${page} target="_blank" rel="noopener noreferrer">${t('open_page')}</a> <a href=${`${base.url}rec/${seg(recording.recording)}/index.m3u8`} target="_blank" rel="noopener noreferrer">HLS</a></p>`}
    ${now.why && html`<p class="why">${now.why}</p>`}
    <dl class="facts wide"><div><dt>${t('state')}</dt><dd>${t(`recording_${now.state}`)}</dd></div><div><dt>${t('began')}</dt><dd><${Time} ms=${now.started_unix_ms} /></dd></div>
      <div><dt>${t('lasted')}</dt><dd>${lasting(now.duration_ms)}</dd></div><div><dt>${t('size')}</dt><dd>${bytes(now.bytes)}</dd></div><div><dt>${t('kept_in')}</dt><dd>${now.store || '–'}</dd></div></dl>
    <${Clips} recording=${now} base=${base.url} />
    ${files.length > 0 && html`<h3>${t('files')}</h3><ul class="files">${files.map((file) => html`<li>${base.url ? html`<a href=${base.url + file.path} target="_blank" rel="noopener noreferrer">${file.path}</a>` : file.path} <span class="quiet">${lasting(file.duration_ms)} · ${bytes(file.bytes)}</span></li>`)}</ul>`}
    <details><summary>${t('export')}</summary><p>${t('export_text')}</p><pre>millstream recordings export ${recording.recording} --stream ${recording.stream} --api ${location.origin} --token-file TOKEN --out ${recording.stream}.mp4</pre></details>
  <//>`;
}

// Calls when something is told of recordings, of one stream or of all.
function useTold(stream, changed) {
  const all = useValue(events);
  const newest = all.find((told) => told.what.kind.startsWith('recording_') && told.what.kind !== 'recording_file' && (!stream || told.stream === stream))?.number;
  const seen = useRef(newest);
  useEffect(() => {
    if (seen.current === newest || newest === undefined) return undefined;
    seen.current = newest;
    // Of several that come together the last one counts.
    const timer = setTimeout(changed, TOLD_MS);
    return () => clearTimeout(timer);
  }, [newest]);
}

// `keptDays`: for how long the stream's recordings are kept, where that is known; 0: for ever.
export function RecordingList({ stream = null, keptDays = 0 }) {
  const [state, choose] = useState('');
  const list = useList('recordings', { params: { stream, state } });
  const [open, show] = useState(null);
  useTold(stream, list.again);
  const remove = async (one) => {
    await call('DELETE', `recordings/${seg(one.recording)}`);
    list.again();
  };
  const columns = [
    !stream && ['stream', t('stream'), (one) => html`<a href=${`#/streams/${seg(one.stream)}/recordings`}>${one.stream}</a>`],
    ['began', t('began'), (one) => html`<${Time} ms=${one.started_unix_ms} />`],
    ['state', t('state'), (one) => html`<${Tag} kind=${STATES[one.state]} title=${one.why}>${t(`recording_${one.state}`)}<//> <small>${one.why}</small>`],
    ['lasted', t('lasted'), (one) => lasting(one.state === 'recording' ? Date.now() - one.started_unix_ms : one.duration_ms)],
    ['bytes', t('size'), (one) => bytes(one.bytes)],
    keptDays > 0 && ['until', t('kept_until'), (one) => html`<${Time} ms=${untilOf(one, keptDays)} />`],
    ['node', t('node'), (one) => one.node],
    ['act', '', (one) => html`<span class="row"><button type="button" class="small" onClick=${() => show(one)} aria-label=${`${t('open')}: ${one.recording}`}>${t('open')}</button>
      <${Act} small kind="danger" needs="operator" does=${() => remove(one)} word=${t('remove')} disabled=${one.state === 'deleting'} label=${`${t('remove')}: ${one.recording}`}
        ask=${{ title: t('remove_what', { what: one.recording }), text: t('remove_recording_text') }}>${t('remove')}<//></span>`],
  ].filter(Boolean);
  return html`${stream && html`<${Timeline} key=${stream} stream=${stream} open=${show} />`}<div class="row end"><label>${t('state')} <select value=${state} onChange=${(event) => choose(event.target.value)}><option value="">${t('all')}</option>${Object.keys(STATES).map((one) => html`<option value=${one}>${t(`recording_${one}`)}</option>`)}</select></label>
      <button type="button" onClick=${list.again}>${t('refresh')}</button></div>
    ${list.items.length > 0 && html`<${Table} caption=${t('view_recordings')} rows=${list.items} name=${(one) => one.recording} columns=${columns} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${html`<h2>${t('no_recordings')}</h2><p>${t('no_recordings_text')}</p>`} /><${More} list=${list} />
    ${open && html`<${One} recording=${open} close=${() => show(null)} />`}`;
}

export const Recordings = () => html`<header class="title"><h1>${t('view_recordings')}</h1></header><${RecordingList} />`;
