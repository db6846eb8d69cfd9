// Where a hook is asked: its bindings, one made, changed or removed.
import { useRef, useState } from 'preact/hooks';
import { call, get, may, once, seg } from '../lib/api.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Act, Dialog, Field, Table, Tag, Why } from '../lib/ui.js';
import { fromText, toText } from './settings.js';

const POINTS = { auth: ['publish', 'play'], policy: ['renditions'], motion: ['motion'], events: ['events'] };
const MODES = ['live', 'shadow', 'canary', 'off'];
const PAIRS = { type: 'object' };

function Edit({ hook, binding, close, changed }) {
  const points = POINTS[hook.kind] ?? ['publish'];
  const [given, set] = useState({
    stream: binding?.stream ?? '', point: binding?.point ?? points[0], mode: binding?.mode ?? 'live', version: String(binding?.version ?? 'newest'),
    order: String(binding?.order ?? 0), canary_percent: String(binding?.canary_percent || 10), config: toText(PAIRS, binding?.config ?? {}), secrets: (binding?.secrets ?? []).join('\n'),
  });
  const sent = useRef({ body: '', key: '' });
  const [etag, know] = useState(binding?.etag);
  const [state, say] = useState({ busy: false, problem: null, theirs: null });
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  const submit = async (event, accept = {}) => {
    event.preventDefault();
    say({ busy: true, problem: null, theirs: null });
    const json = {
      stream: given.stream.trim(), point: given.point, mode: given.mode, version: given.version === 'newest' ? 'newest' : Number(given.version), order: Number(given.order),
      config: fromText(PAIRS, given.config), secrets: given.secrets.split(/\s+/).filter(Boolean), ...(given.mode === 'canary' && { canary_percent: Number(given.canary_percent) }), ...accept,
    };
    // A request that was refused and is sent with another body is another request.
    const body = JSON.stringify(json);
    if (sent.current.body !== body) sent.current = { body, key: once() };
    try {
      if (binding) await call('PATCH', `hook-bindings/${seg(binding.id)}`, { json, etag });
      else await call('POST', 'hook-bindings', { json: { ...json, hook: hook.name }, key: sent.current.key });
      changed();
      close();
    } catch (problem) {
      // Somebody else was quicker: what they saved is shown, and saving again is a decision.
      const theirs = problem.status === 412 ? await get(`hook-bindings/${seg(binding.id)}`).catch(() => null) : null;
      if (theirs) know(theirs.etag);
      say({ busy: false, problem: theirs ? null : problem, theirs });
    }
  };
  const wrong = (field) => state.problem?.of(field);
  const shown = state.theirs && [t(`point_${state.theirs.point}`), state.theirs.stream ?? t('all_streams'), t(`mode_${state.theirs.mode}`), state.theirs.version, toText(PAIRS, state.theirs.config)].join(' · ');
  const known = hook.versions.find((one) => String(one.number) === given.version) ?? hook.versions.at(-1);
  const accepts = ['accept_differences', 'accept_failures'].filter((word) => state.problem?.status === 409 && state.problem.message.includes(word));
  const input = (name, more = {}) => (field) => html`<input ...${field} name=${name} value=${given[name]} onInput=${change(name)} ...${more} />`;
  const select = (name, options) => (field) => html`<select ...${field} name=${name} value=${given[name]} onChange=${change(name)}>${options.map(([word, text]) => html`<option value=${word}>${text}</option>`)}</select>`;
  return html`<${Dialog} title=${binding ? t('change_binding') : t('make_binding')} close=${close}><form onSubmit=${submit}>
    <div class="grid">
      <${Field} label=${t('point')} wrong=${wrong('point')}>${select('point', points.map((one) => [one, t(`point_${one}`)]))}<//>
      <${Field} label=${t('stream')} hint=${t('binding_stream_hint')} wrong=${wrong('stream')}>${input('stream', { spellcheck: false })}<//>
      <${Field} label=${t('mode')} hint=${t(`mode_${given.mode}_text`)} wrong=${wrong('mode')}>${select('mode', MODES.map((one) => [one, t(`mode_${one}`)]))}<//>
      ${given.mode === 'canary' && html`<${Field} label=${t('canary_percent')} wrong=${wrong('canary_percent')}>${input('canary_percent', { type: 'number', min: 1, max: 99 })}<//>`}
      <${Field} label=${t('version')} wrong=${wrong('version')}>${select('version', [['newest', t('newest')], ...[...hook.versions].reverse().map((one) => [String(one.number), String(one.number)])])}<//>
      <${Field} label=${t('order')} hint=${t('order_hint')} wrong=${wrong('order')}>${input('order', { type: 'number', min: 0, max: 9999 })}<//>
    </div>
    <${Field} label=${t('binding_config')} hint=${t('pairs_hint')} wrong=${wrong('config')}>${(field) => html`<textarea ...${field} name="config" rows="4" spellcheck="false" value=${given.config} onInput=${change('config')}></textarea>`}<//>
    ${known?.report?.settings.length > 0 && html`<ul class="quiet">${known.report.settings.map((one) => html`<li><code>${one.name}</code>${one.required ? ' *' : ''} ${one.about}</li>`)}</ul>`}
    <${Field} label=${t('secrets')} hint=${t('secrets_hint')} wrong=${wrong('secrets')}>${input('secrets', { spellcheck: false })}<//>
    ${state.theirs && html`<div class="why" role="alert"><p><b>${t('conflict_binding')}</b></p><p dir="auto">${shown}</p></div>`}
    <${Why} problem=${state.problem} shown=${['point', 'stream', 'mode', 'canary_percent', 'version', 'order', 'config', 'secrets']} />
    <div class="row end"><button type="button" onClick=${close}>${t('cancel')}</button>
      ${accepts.map((word) => html`<button type="button" class="danger" onClick=${(event) => submit(event, { [word]: true })}>${t(word)}</button>`)}
      <button class="primary" disabled=${state.busy}>${state.theirs ? t('conflict_take') : binding ? t('save') : t('make')}</button></div>
  </form><//>`;
}

export function Bindings({ hook, bindings, changed }) {
  const [open, show] = useState(null);
  const edit = async (one) => show(await get(`hook-bindings/${seg(one.id)}`));
  const remove = async (one) => {
    const now = await get(`hook-bindings/${seg(one.id)}`);
    await call('DELETE', `hook-bindings/${seg(one.id)}`, { etag: now.etag });
    changed();
  };
  const why = may('operator') ? undefined : t('needs_role', { role: t('role_operator') });
  return html`<section><header class="row"><p class="quiet">${t('bindings_text')}</p><button type="button" class="primary" disabled=${Boolean(why)} title=${why} onClick=${() => show({})}>${t('make_binding')}</button></header>
    ${bindings.length > 0 && html`<${Table} caption=${t('part_bindings')} rows=${bindings} name=${(one) => one.id} columns=${[
      ['point', t('point'), (one) => t(`point_${one.point}`)],
      ['stream', t('stream'), (one) => one.stream ?? html`<span class="quiet">${t('all_streams')}</span>`],
      ['mode', t('mode'), (one) => html`<${Tag} kind=${one.mode === 'live' ? 'live' : ''}>${t(`mode_${one.mode}`)}${one.mode === 'canary' ? ` ${one.canary_percent} %` : ''}<//>`],
      ['version', t('version'), (one) => html`${one.means?.version ?? '–'} ${one.version === 'newest' && html`<span class="quiet">${t('newest')}</span>`} ${one.taken_back && html`<${Tag} kind="bad">${t('taken_back', { number: one.taken_back.version })}<//>`}`],
      ['order', t('order'), (one) => one.order],
      ['config', t('binding_config'), (one) => html`<code dir="auto">${Object.entries(one.config).map(([name, text]) => `${name}=${text}`).join(' ') || '–'}</code>`],
      ['notes', t('notes'), (one) => one.warnings.map((text) => html`<p class="odd">${text}</p>`)],
      ['act', '', (one) => html`<span class="row"><${Act} small needs="operator" does=${() => edit(one)}>${t('change')}<//><${Act} small kind="danger" needs="operator" does=${() => remove(one)} word=${t('remove')} ask=${{ title: t('remove_binding'), text: t('remove_binding_text') }}>${t('remove')}<//></span>`],
    ]} />`}
    ${!bindings.length && html`<p class="empty">${t('no_bindings')}</p>`}
    ${open && html`<${Edit} hook=${hook} binding=${open.id ? open : null} close=${() => show(null)} changed=${changed} />`}</section>`;
}
