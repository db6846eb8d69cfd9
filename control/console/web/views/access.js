// Who may use the API and the console, and who changed what.
import { useState } from 'preact/hooks';
import { call, seg } from '../lib/api.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Act, Dialog, Field, Line, More, Rest, Table, Tag, Time, Why } from '../lib/ui.js';
import { useList } from '../lib/use.js';

const ROLES = ['viewer', 'operator', 'admin'];

function Make({ close, made }) {
  const [given, set] = useState({ name: '', role: 'viewer', days: '' });
  const [state, say] = useState({ busy: false, problem: null, token: null });
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    say({ busy: true, problem: null, token: null });
    const expires = given.days ? { expires_unix_ms: Date.now() + Number(given.days) * 86400000 } : {};
    try {
      const { token } = await call('POST', 'tokens', { json: { name: given.name, role: given.role, ...expires } });
      say({ busy: false, problem: null, token });
      made();
    } catch (problem) {
      say({ busy: false, problem, token: null });
    }
  };
  if (state.token) {
    return html`<${Dialog} title=${t('token_made')}><p>${t('token_made_text')}</p><${Line} label=${t('token')} text=${state.token} secret />
      <div class="row end"><button type="button" class="primary" onClick=${close}>${t('done')}</button></div><//>`;
  }
  return html`<${Dialog} title=${t('make_token')} close=${close}><form onSubmit=${submit}>
    <${Field} label=${t('token_name')} wrong=${state.problem?.of('name')}>${(field) => html`<input ...${field} name="name" maxlength="128" required dir="auto" autofocus value=${given.name} onInput=${change('name')} />`}<//>
    <${Field} label=${t('role')} hint=${t(`role_${given.role}_text`)}>${(field) => html`<select ...${field} name="role" value=${given.role} onChange=${change('role')}>${ROLES.map((role) => html`<option value=${role}>${t(`role_${role}`)}</option>`)}</select>`}<//>
    <${Field} label=${t('token_days')} hint=${t('token_days_hint')} wrong=${state.problem?.of('expires_unix_ms')}>${(field) => html`<input ...${field} name="days" type="number" min="1" max="36500" value=${given.days} onInput=${change('days')} />`}<//>
    <${Why} problem=${state.problem} shown=${['name', 'expires_unix_ms']} />
    <div class="row end"><button type="button" onClick=${close}>${t('cancel')}</button><button class="primary" disabled=${state.busy}>${t('make')}</button></div>
  </form><//>`;
}

function Tokens() {
  const list = useList('tokens');
  const [making, make] = useState(false);
  const remove = async (id) => {
    await call('DELETE', `tokens/${seg(id)}`);
    list.again();
  };
  return html`<section><header class="row"><h2>${t('tokens')}</h2><button type="button" class="primary" onClick=${() => make(true)}>${t('make_token')}</button></header>
    <p class="quiet">${t('tokens_text')}</p>
    ${list.items.length > 0 && html`<${Table} caption=${t('tokens')} rows=${list.items} name=${(one) => one.id} columns=${[
      ['name', t('token_name'), (one) => html`<b dir="auto">${one.name}</b> <small class="id">${one.id}</small>`],
      ['role', t('role'), (one) => html`<${Tag}>${t(`role_${one.role}`)}<//>`],
      ['until', t('good_until'), (one) => (one.expires_unix_ms ? html`<${Time} ms=${one.expires_unix_ms} />` : t('until_removed'))],
      ['made', t('made'), (one) => html`<${Time} ms=${one.created_unix_ms} /> <small>${one.created_by}</small>`],
      ['act', '', (one) => html`<${Act} small kind="danger" needs="admin" does=${() => remove(one.id)} word=${t('remove')} ask=${{ title: t('remove_what', { what: one.name }), text: t('remove_token_text') }} label=${`${t('remove')}: ${one.name}`}>${t('remove')}<//>`],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${t('no_tokens')} /><${More} list=${list} />
    ${making && html`<${Make} close=${() => make(false)} made=${list.again} />`}</section>`;
}

function Audit() {
  const list = useList('audit');
  return html`<section><header class="row"><h2>${t('audit')}</h2><button type="button" onClick=${list.again}>${t('refresh')}</button></header>
    ${list.items.length > 0 && html`<${Table} caption=${t('audit')} rows=${list.items.map((one, n) => ({ ...one, n }))} name=${(one) => `${one.at_unix_ms}-${one.n}`} columns=${[
      ['at', t('when'), (one) => html`<${Time} ms=${one.at_unix_ms} />`],
      ['who', t('who'), (one) => html`<span dir="auto">${one.who}</span>`],
      ['what', t('what'), (one) => html`<code>${one.action}</code>`],
      ['target', t('target'), (one) => html`<code>${one.target}</code>`],
      ['parts', t('parts_changed'), (one) => one.parts.join(', ')],
      ['from', t('address'), (one) => one.address],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${t('no_audit')} /><${More} list=${list} /></section>`;
}

export const Access = () => html`<header class="title"><h1>${t('view_access')}</h1></header><${Tokens} /><${Audit} />`;
