// A stream's settings: what they may hold is the API's own description; what two people change at once is shown, and nothing is overwritten.
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { call, get, may, seg, session } from '../lib/api.js';
import { html } from '../lib/html.js';
import { has, t } from '../lib/text.js';
import { Field, Rest, Tag, Why } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';

// In the order in which they are shown, in rows of what belongs together. A setting that this release of the page does not know is in the last
// group, under its own name.
const GROUPS = {
  about: [['videoname', 'outdate', 'description', 'labels']],
  outputs: [['isFlv', 'isHls', 'isCMAF', 'isRtmps', 'isCluster'], ['hls_time', 'hls_list_size', 'flush']],
  absence: [['on_unpublish', 'slate']],
  record: [['isOnDemand', 'isVideo'], ['ondemand_time', 'video_time', 'retention_days', 'dvr_window_s']],
  pictures: [['isImage'], ['image_time'], ['isMotion'], ['motion_percent', 'motion_diff', 'motion_duration', 'motion_timeout', 'motion_zones']],
  transcode: [['isCodec', 'ld', 'sd', 'hd', 'ud'], ['codec']],
  marks: [['isWaterMark'], ['WaterMarkText', 'WaterMarkFontSize', 'WaterMarkFontColor', 'WaterMarkTop', 'WaterMarkLeft'],
    ['isImageWaterMark'], ['ImageURL', 'ImageWidth', 'ImageHeight', 'ImageTop', 'ImageLeft', 'ImageOpacity']],
  paths: [['isRelay'], ['relayURL', 'push_paths', 'play_paths']],
};
// Closed until something in them is set.
const CLOSED = ['pictures', 'transcode', 'marks', 'paths'];
// What somebody has typed stays when they look at another view and come back. It ends with their login.
const drafts = new Map();
session.follow((now) => { if (!now) drafts.clear(); });
const LONG = ['description', 'relayURL'];

const typesOf = (schema) => [].concat(schema.type ?? []);
// What has been typed since then.
const since = (before, now) => Object.fromEntries(Object.entries(now).filter(([name, value]) => !(name in before && same(value, before[name]))));
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
const bytesOf = (text) => new TextEncoder().encode(text).length;

// What a field shows of a value, and the other way. What cannot be read stays text, for the API to say what is wrong with it.
export function toText(schema, value) {
  if (value === null || value === undefined) return '';
  if (typesOf(schema).includes('array')) return value.join('\n');
  if (typesOf(schema).includes('object')) return Object.entries(value).map(([name, one]) => `${name}=${one}`).join('\n');
  return String(value);
}

export function fromText(schema, text) {
  const lines = () => text.split('\n').map((line) => line.trim()).filter(Boolean);
  if (typesOf(schema).includes('array')) return lines();
  if (typesOf(schema).includes('object')) return Object.fromEntries(lines().map((line) => [line.split('=')[0].trim(), line.split('=').slice(1).join('=').trim()]));
  if (typesOf(schema).includes('integer')) {
    if (text.trim() === '') return null;
    return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
  }
  return text;
}

// What is wrong with a value, as one types; empty where nothing is.
export function check(schema, value) {
  if (value === null) return '';
  if (typesOf(schema).includes('integer')) {
    if (typeof value !== 'number') return t('wrong_number');
    if (value < schema.minimum || value > schema.maximum) return t('wrong_range', { min: schema.minimum, max: schema.maximum });
  }
  if (schema.maxLength && typeof value === 'string' && bytesOf(value) > schema.maxLength) return t('wrong_long', { max: schema.maxLength });
  if (schema.pattern && typeof value === 'string' && !new RegExp(schema.pattern, 'u').test(value)) return t('wrong_pattern');
  return '';
}

// What a schema does not say of a setting, as one types; the API says the rest.
const RULES = {
  // A key that has an end keeps one: the API takes an empty day for none said.
  outdate: (text) => (text ? '' : t('wrong_day')),
  ImageURL: (text) => (!text || /^https?:\/\/[^\s/]+/i.test(text.trim()) ? '' : t('wrong_address')),
  relayURL: (text) => (!text || text.split(',').every((one) => /^rtmps?:\/\/[^\s/]+\/./i.test(one.trim())) ? '' : t('wrong_relay')),
};
const refused = (name, value) => (name in RULES ? RULES[name](value ?? '') : '');

const label = (name) => (has(`set_${name}`) ? t(`set_${name}`) : name);

function Input({ name, schema, value, wrong, off, idle, set }) {
  const mark = idle ? html` <${Tag} kind="odd" title=${t('not_in_force_text')}>${t('not_in_force')}<//>` : null;
  const kinds = typesOf(schema);
  if (kinds.includes('boolean')) {
    return html`<div class=${`field switch ${wrong ? 'wrong' : ''}`}><label class="check"><input type="checkbox" name=${name} disabled=${off} checked=${Boolean(value)} onChange=${(event) => set(event.target.checked)} />${label(name)}</label>${mark}
      ${wrong && html`<small class="bad" role="alert">${wrong}</small>`}</div>`;
  }
  const isPast = name === 'outdate' && value && Date.parse(value) < Date.now();
  const hint = isPast ? t('key_is_past') : has(`hint_${name}`) ? t(`hint_${name}`) : schema.minimum !== undefined ? t('range', { min: schema.minimum, max: schema.maximum }) : null;
  const text = typeof value === 'string' ? value : toText(schema, value);
  return html`<${Field} label=${label(name)} hint=${hint} wrong=${wrong} mark=${mark}>${(field) => {
    const common = { ...field, name, disabled: off };
    const typed = (event) => set(fromText(schema, event.target.value), event.target.value);
    if (schema.enum) return html`<select ...${common} value=${text} onChange=${typed}>${schema.enum.filter((word) => word !== null).map((word) => html`<option value=${word}>${word === '' ? t('as_configured') : has(`word_${word}`) ? t(`word_${word}`) : word}</option>`)}</select>`;
    if (kinds.includes('array') || kinds.includes('object') || LONG.includes(name)) return html`<textarea ...${common} rows="3" dir="auto" spellcheck="false" value=${text} onInput=${typed}></textarea>`;
    if (kinds.includes('integer')) return html`<input ...${common} inputmode="numeric" placeholder=${toText(schema, schema.default) || t('as_configured')} value=${text} onInput=${typed} />`;
    if (name === 'outdate') return html`<input ...${common} type="date" value=${text} onInput=${typed} />`;
    return html`<input ...${common} dir="auto" value=${text} onInput=${typed} />`;
  }}<//>`;
}

// Two people have changed the stream. What differs is shown; what goes on is said by who is asked.
function Conflict({ base, theirs, draft, take, drop }) {
  const names = Object.keys(theirs.settings).filter((name) => !same(theirs.settings[name], base.settings[name]));
  const word = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value)) || '–';
  return html`<div class="why conflict" role="alert"><p><b>${t('conflict')}</b> ${t('conflict_text', { who: theirs.updated_by })}</p>
    <ul>${names.map((name) => html`<li><b>${label(name)}</b>: <s>${word(base.settings[name])}</s> → ${word(theirs.settings[name])}${name in draft && html` (${t('yours')}: ${word(draft[name])})`}</li>`)}</ul>
    <div class="row wrap"><button type="button" onClick=${take}>${t('conflict_take')}</button><button type="button" onClick=${drop}>${t('conflict_drop')}</button></div></div>`;
}

// The API's document is that of the release that this page is of: asked for once, so that a draft can be looked at while control is away.
let known = null;
async function schemas(path, options) {
  known ??= await get(path, options);
  return known;
}

export function Settings({ id, stream, changed }) {
  const schema = useAsked('openapi.json', 0, schemas);
  const [base, begin] = useState(drafts.get(id)?.base ?? stream);
  // What differs from `base`, and the text of fields as it was typed: a line's end in a list is not lost for changing nothing yet.
  const [draft, write] = useState(drafts.get(id)?.draft ?? {});
  const [typed, type] = useState(drafts.get(id)?.typed ?? {});
  // `mended`: fields that were changed since the API said what is wrong with them.
  const [state, say] = useState({ busy: false, problem: null, mended: [], theirs: null, saved: false });
  const fields = schema.data?.components.schemas.Settings.properties;
  const dirty = Object.keys(draft).length > 0;
  useEffect(() => {
    if (dirty) return;
    begin(stream);
    // Text of a field that has another value now is not its text any more.
    type((old) => Object.fromEntries(Object.entries(old).filter(([name]) => same(stream.settings[name], base.settings[name]))));
  }, [stream]);
  // Before anything else can happen: other effects wait for the next picture, and a link may take this view away before it.
  useLayoutEffect(() => {
    if (dirty) drafts.set(id, { base, draft, typed });
    else drafts.delete(id);
  }, [base, draft, typed]);
  useEffect(() => {
    if (!dirty) return undefined;
    const stay = (event) => event.preventDefault();
    window.addEventListener('beforeunload', stay);
    return () => window.removeEventListener('beforeunload', stay);
  }, [dirty]);
  if (!fields) return html`<${Rest} of=${schema} count=${0} />`;
  const fixed = stream.source === 'configuration';
  const off = fixed || !may('operator');
  const valueOf = (name) => (name in draft ? draft[name] : base.settings[name]);
  const set = (name) => (value, text) => {
    const next = { ...draft, [name]: value };
    if (same(value, base.settings[name])) delete next[name];
    write(next);
    type({ ...typed, [name]: text });
    say({ ...state, saved: false, mended: [...state.mended, name] });
  };
  const wrongOf = (name) => (name in draft ? check(fields[name], draft[name]) || refused(name, draft[name]) : '') || (state.mended.includes(name) ? '' : state.problem?.of?.(name) ?? '');
  const forget = (next) => {
    begin(next);
    write({});
    type({});
  };
  const undo = () => {
    forget(base);
    say({ busy: false, problem: null, mended: [], theirs: null, saved: false });
  };
  const save = async (event) => {
    event?.preventDefault();
    say({ busy: true, problem: null, mended: [], theirs: null, saved: false });
    try {
      const next = await call('PATCH', `streams/${seg(id)}`, { json: { settings: draft }, etag: base.etag });
      begin(next);
      write((now) => since(draft, now));
      type((now) => since(typed, now));
      changed(next);
      say({ busy: false, problem: null, mended: [], theirs: null, saved: true });
    } catch (problem) {
      const theirs = problem.status === 412 ? await get(`streams/${seg(id)}`).catch(() => null) : null;
      say({ busy: false, problem: theirs ? null : problem, mended: [], theirs, saved: false });
    }
  };
  // What is kept stays in the draft, upon their version; saving it is another step.
  const take = () => {
    write(Object.fromEntries(Object.entries(draft).filter(([name, value]) => !same(value, state.theirs.settings[name]))));
    type({});
    begin(state.theirs);
    say({ busy: false, problem: null, mended: [], theirs: null, saved: false });
  };
  const drop = () => {
    forget(state.theirs);
    changed(state.theirs);
    say({ busy: false, problem: null, mended: [], theirs: null, saved: false });
  };
  const grouped = new Set(Object.values(GROUPS).flat(2));
  const groups = Object.entries(GROUPS).concat([['more', [Object.keys(fields).filter((name) => !grouped.has(name))]]])
    .map(([key, rows]) => [key, rows.map((names) => names.filter((name) => name in fields)).filter((names) => names.length)]).filter(([, rows]) => rows.length);
  const bad = Object.keys(draft).some((name) => check(fields[name], draft[name]) || refused(name, draft[name]));
  return html`<form class="settings" onSubmit=${save} novalidate>
    ${fixed && html`<p class="why">${t('of_file_text')}</p>`}
    ${!fixed && off && html`<p class="why">${t('needs_role', { role: t('role_operator') })}</p>`}
    ${groups.map(([key, rows]) => html`<details key=${key} open=${!CLOSED.includes(key) || rows.flat().some((name) => name in draft || wrongOf(name) || base.not_in_force.includes(name))}>
      <summary><h2>${t(`group_${key}`)}</h2></summary>
      ${rows.map((names) => html`<div class="grid" key=${names[0]}>${names.map((name) => html`<${Input} key=${name} name=${name} schema=${fields[name]} value=${typed[name] !== undefined ? typed[name] : valueOf(name)} wrong=${wrongOf(name)} off=${off}
        idle=${base.not_in_force.includes(name)} set=${set(name)} />`)}</div>`)}
    </details>`)}
    ${!off && html`<div class=${`bar ${dirty ? 'dirty' : ''}`}>
      ${state.theirs && html`<${Conflict} base=${base} theirs=${state.theirs} draft=${draft} take=${take} drop=${drop} />`}
      <${Why} problem=${state.problem?.errors?.length ? null : state.problem} />
      ${state.problem?.errors?.length > 0 && html`<p class="why" role="alert">${t('not_saved')}</p>`}
      <div class="row end"><span role="status">${state.saved && !dirty ? t('saved') : dirty ? t('changes', { count: Object.keys(draft).length }) : ''}</span>
      <button type="button" disabled=${!dirty || state.busy} onClick=${undo}>${t('undo')}</button>
      <button class="primary" disabled=${!dirty || bad || state.busy || state.theirs}>${t('save')}</button></div>
    </div>`}
  </form>`;
}
