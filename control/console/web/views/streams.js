// The streams that there are: search, make one.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call, may, once, seg, session } from '../lib/api.js';
import { day } from '../lib/format.js';
import { html } from '../lib/html.js';
import { live as nowLive, watch } from '../lib/live.js';
import { t } from '../lib/text.js';
import { Dialog, Field, More, Rest, Table, Tag, Why } from '../lib/ui.js';
import { useList } from '../lib/use.js';
import { useValue } from '../lib/value.js';

const SEARCH_MS = 250;

const SOON_MS = 7 * 86400000;

// When keys stop admitting: as that day begins, in UTC.
function Until({ day: last }) {
  if (!last) return html`<span class="quiet">–</span>`;
  const leftMs = Date.parse(last) - Date.now();
  if (leftMs <= 0) return html`<${Tag} kind="bad" title=${t('key_expired')}>${last}<//>`;
  return leftMs < SOON_MS ? html`<${Tag} kind="odd">${last}<//>` : last;
}

function Make({ close }) {
  const [given, set] = useState({ name: '', id: '', days: '365' });
  const [state, say] = useState({ busy: false, problem: null });
  // The same try sent again after a lost answer makes one stream.
  const key = useMemo(once, [given]);
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    say({ busy: true, problem: null });
    const settings = { videoname: given.name };
    if (given.days) settings.outdate = new Date(Date.now() + Number(given.days) * 86400000).toISOString().slice(0, 10);
    try {
      const made = await call('POST', 'streams', { json: { ...(given.id && { id: given.id }), settings }, key });
      location.hash = `#/streams/${seg(made.id)}/push`;
    } catch (problem) {
      say({ busy: false, problem });
    }
  };
  const wrong = (field) => state.problem?.of(field);
  return html`<${Dialog} title=${t('make_stream')} close=${close}><form onSubmit=${submit}>
    <${Field} label=${t('set_videoname')} wrong=${wrong('videoname')}>${(field) => html`<input ...${field} name="videoname" maxlength="256" dir="auto" autofocus value=${given.name} onInput=${change('name')} />`}<//>
    <${Field} label=${t('id')} hint=${t('id_hint')} wrong=${wrong('id')}>${(field) => html`<input ...${field} name="id" maxlength="64" pattern="[A-Za-z0-9_\\-]{1,64}" spellcheck="false" autocapitalize="off" value=${given.id} onInput=${change('id')} />`}<//>
    <${Field} label=${t('key_days')} hint=${t('key_days_hint')} wrong=${wrong('outdate')}>${(field) => html`<input ...${field} name="days" type="number" min="1" max="36500" required value=${given.days} onInput=${change('days')} />`}<//>
    <${Why} problem=${state.problem} shown=${['videoname', 'id', 'outdate']} />
    <div class="row end"><button type="button" onClick=${close}>${t('cancel')}</button><button class="primary" disabled=${state.busy}>${t('make')}</button></div>
  </form><//>`;
}

// Who comes back to the list finds what they had looked for.
let lastTyped = '';
session.follow((now) => { if (!now) lastTyped = ''; });

export function Streams() {
  const [typed, type] = useState(lastTyped);
  const [find, look] = useState(lastTyped.trim().toLowerCase());
  const [making, make] = useState(false);
  useEffect(() => {
    lastTyped = typed;
    const timer = setTimeout(() => look(typed.trim().toLowerCase()), SEARCH_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const matches = useMemo(() => find && ((stream) => [stream.id, stream.settings.videoname, stream.settings.description, ...Object.entries(stream.settings.labels ?? {}).flat()]
    .some((text) => String(text).toLowerCase().includes(find))), [find]);
  const list = useList('streams', { matches: matches || null });
  const live = useValue(nowLive);
  useEffect(() => watch(false), []);
  const onAir = useMemo(() => new Set((live.data?.items ?? []).filter((one) => one.publisher).map((one) => one.id)), [live.data]);
  const outputs = (settings) => [settings.isFlv && 'FLV', settings.isHls && 'HLS', settings.isCMAF && 'DASH'].filter(Boolean).join(' · ');
  return html`<header class="title"><h1>${t('view_streams')}</h1><div class="row">
      <input type="search" aria-label=${t('find_streams')} placeholder=${t('find_streams')} value=${typed} onInput=${(event) => type(event.target.value)} />
      <button type="button" class="primary" disabled=${!may('operator')} title=${may('operator') ? undefined : t('needs_role', { role: t('role_operator') })} onClick=${() => make(true)}>${t('make_stream')}</button>
    </div></header>
    ${list.items.length > 0 && html`<${Table} caption=${t('view_streams')} rows=${list.items} name=${(stream) => stream.id} columns=${[
      ['name', t('set_videoname'), (stream) => html`<a class="name" href=${`#/streams/${seg(stream.id)}`}><b dir="auto">${stream.settings.videoname || stream.id}</b>${stream.settings.videoname && html`<small class="id">${stream.id}</small>`}</a>`],
      ['state', t('state'), (stream) => html`${onAir.has(stream.id) ? html`<${Tag} kind="live">${t('state_live')}<//>` : html`<span class="quiet">${t('state_off')}</span>`}
        ${stream.source === 'configuration' && html` <${Tag} title=${t('of_file_text')}>${t('of_file')}<//>`}`],
      ['outputs', t('outputs'), (stream) => outputs(stream.settings)],
      ['records', t('records'), (stream) => [stream.settings.isOnDemand && 'HLS', stream.settings.isVideo && 'MP4'].filter(Boolean).join(' · ') || html`<span class="quiet">–</span>`],
      ['expires', t('key_until'), (stream) => html`<${Until} day=${stream.settings.outdate} />`],
      ['changed', t('changed'), (stream) => (stream.updated_unix_ms ? html`<span title=${stream.updated_by}>${day(stream.updated_unix_ms)}</span>` : html`<span class="quiet">–</span>`)],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${find ? t('nothing_found') : html`<h2>${t('no_streams')}</h2><p>${t('no_streams_text')}</p>`} />
    <${More} list=${list} />
    ${making && html`<${Make} close=${() => make(false)} />`}`;
}
