// The hooks that there are, and a new one: made with its first module, which says what it is.
import { useState } from 'preact/hooks';
import { call, may, seg } from '../lib/api.js';
import { day } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Dialog, Field, More, Rest, Table, Tag, Why } from '../lib/ui.js';
import { useList } from '../lib/use.js';

const KINDS = ['auth', 'policy', 'motion', 'events'];

function Make({ close }) {
  const [given, set] = useState({ name: '', kind: 'auth', description: '' });
  const [state, say] = useState({ busy: false, problem: null });
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    say({ busy: true, problem: null });
    try {
      await call('PUT', `hooks/${seg(given.name)}`, { json: { kind: given.kind, description: given.description } });
      location.hash = `#/hooks/${seg(given.name)}`;
    } catch (problem) {
      say({ busy: false, problem });
    }
  };
  const wrong = (field) => state.problem?.of(field);
  return html`<${Dialog} title=${t('make_hook')} close=${close}><form onSubmit=${submit}>
    <${Field} label=${t('name')} hint=${t('id_rule')} wrong=${wrong('name')}>${(field) => html`<input ...${field} name="name" required maxlength="64" pattern="[A-Za-z0-9_\\-]{1,64}" spellcheck="false" autocapitalize="off" autofocus value=${given.name} onInput=${change('name')} />`}<//>
    <${Field} label=${t('kind')} hint=${t(`kind_${given.kind}_text`)} wrong=${wrong('kind')}>${(field) => html`<select ...${field} name="kind" value=${given.kind} onChange=${change('kind')}>${KINDS.map((kind) => html`<option value=${kind}>${kind}</option>`)}</select>`}<//>
    <${Field} label=${t('set_description')} wrong=${wrong('description')}>${(field) => html`<input ...${field} name="description" dir="auto" value=${given.description} onInput=${change('description')} />`}<//>
    <${Why} problem=${state.problem} shown=${['name', 'kind', 'description']} />
    <div class="row end"><button type="button" onClick=${close}>${t('cancel')}</button><button class="primary" disabled=${state.busy}>${t('make')}</button></div>
  </form><//>`;
}

export function Hooks() {
  const list = useList('hooks');
  const [making, make] = useState(false);
  return html`<header class="title"><h1>${t('view_hooks')}</h1><div class="row">
      <button type="button" class="primary" disabled=${!may('admin')} title=${may('admin') ? undefined : t('needs_role', { role: t('role_admin') })} onClick=${() => make(true)}>${t('make_hook')}</button></div></header>
    ${list.items.length > 0 && html`<${Table} caption=${t('view_hooks')} rows=${list.items} name=${(hook) => hook.name} columns=${[
      ['name', t('name'), (hook) => html`<a class="name" href=${`#/hooks/${seg(hook.name)}`}><b>${hook.name}</b>${hook.description && html`<small dir="auto">${hook.description}</small>`}</a>`],
      ['kind', t('kind'), (hook) => html`<${Tag}>${hook.kind}<//>`],
      ['versions', t('newest_version'), (hook) => hook.versions.at(-1)?.number ?? '–'],
      ['changed', t('changed'), (hook) => html`${day(hook.updated_unix_ms)} <small>${hook.updated_by}</small>`],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${html`<h2>${t('no_hooks')}</h2><p>${t('no_hooks_text')}</p>`} /><${More} list=${list} />
    ${making && html`<${Make} close=${() => make(false)} />`}`;
}
