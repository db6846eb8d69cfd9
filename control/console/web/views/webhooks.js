// Webhooks: where events go, what came of it, and a try.
import { useRef, useState } from 'preact/hooks';
import { call, get, once, seg } from '../lib/api.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Act, Dialog, Field, Line, More, Rest, Table, Tag, Time, Why } from '../lib/ui.js';
import { useAsked, useList } from '../lib/use.js';

const OUTCOMES = { delivered: 'live', retry: 'odd', given_up: 'bad', failed: 'bad' };

// The kinds of events that there are, as the API's document has them.
function useKinds() {
  const asked = useAsked('openapi.json');
  return asked.data?.components.schemas.WebhookFields.properties.events.items.enum ?? [];
}

function Edit({ hook, close, changed }) {
  const kinds = useKinds();
  const [given, set] = useState({ url: hook?.url ?? '', stream: hook?.stream ?? '', events: hook?.events ?? [], enabled: hook?.enabled ?? true });
  const sent = useRef({ body: '', key: '' });
  const [etag, know] = useState(hook?.etag);
  const [state, say] = useState({ busy: false, problem: null, theirs: null });
  const change = (name) => (event) => set({ ...given, [name]: event.target.type === 'checkbox' ? event.target.checked : event.target.value });
  const choose = (kind) => (event) => set({ ...given, events: event.target.checked ? [...given.events, kind] : given.events.filter((one) => one !== kind) });
  const submit = async (event) => {
    event.preventDefault();
    say({ busy: true, problem: null, theirs: null });
    const json = { ...given, url: given.url.trim(), stream: given.stream.trim() };
    // A request that was refused and is sent with another body is another request.
    const body = JSON.stringify(json);
    if (sent.current.body !== body) sent.current = { body, key: once() };
    try {
      if (hook) await call('PATCH', `webhooks/${seg(hook.id)}`, { json, etag });
      else await call('POST', 'webhooks', { json, key: sent.current.key });
      changed();
      close();
    } catch (problem) {
      // Somebody else was quicker: what they saved is shown, and saving again is a decision.
      const theirs = problem.status === 412 ? await get(`webhooks/${seg(hook.id)}`).catch(() => null) : null;
      if (theirs) know(theirs.etag);
      say({ busy: false, problem: theirs ? null : problem, theirs });
    }
  };
  const wrong = (field) => state.problem?.of(field);
  const shown = state.theirs && [state.theirs.url, state.theirs.stream, state.theirs.events.join(', '), state.theirs.enabled ? t('sends') : t('sends_not')].filter(Boolean).join(' · ');
  return html`<${Dialog} title=${hook ? t('change_webhook') : t('make_webhook')} close=${close}><form onSubmit=${submit}>
    <${Field} label=${t('address')} hint=${t('webhook_url_hint')} wrong=${wrong('url')}>${(field) => html`<input ...${field} name="url" type="url" required maxlength="2048" spellcheck="false" autofocus value=${given.url} onInput=${change('url')} />`}<//>
    <${Field} label=${t('stream')} hint=${t('binding_stream_hint')} wrong=${wrong('stream')}>${(field) => html`<input ...${field} name="stream" maxlength="64" spellcheck="false" value=${given.stream} onInput=${change('stream')} />`}<//>
    <fieldset><legend>${t('events')} <small>${t('webhook_events_hint')}</small></legend><div class="choices">${kinds.map((kind) => html`<label class="check" key=${kind}><input type="checkbox" name=${`event-${kind}`} checked=${given.events.includes(kind)} onChange=${choose(kind)} /><code>${kind}</code></label>`)}</div>
      ${wrong('events') && html`<small class="bad" role="alert">${wrong('events')}</small>`}</fieldset>
    <p><label class="check"><input type="checkbox" name="enabled" checked=${given.enabled} onChange=${change('enabled')} />${t('sends')}</label></p>
    ${state.theirs && html`<div class="why" role="alert"><p><b>${t('conflict_webhook')}</b></p><p>${shown}</p></div>`}
    <${Why} problem=${state.problem} shown=${['url', 'stream', 'events']} />
    <div class="row end"><button type="button" onClick=${close}>${t('cancel')}</button><button class="primary" disabled=${state.busy}>${state.theirs ? t('conflict_take') : hook ? t('save') : t('make')}</button></div>
  </form><//>`;
}

// What came of the newest delivery, where that is not what it should be.
function Last({ id }) {
  const asked = useAsked(`webhooks/${seg(id)}/deliveries?limit=1`, 15000);
  const one = asked.data?.items[0];
  if (!one || one.outcome === 'delivered') return null;
  return html`<${Tag} kind=${OUTCOMES[one.outcome] ?? ''} title=${one.error}>${t('last_delivery', { outcome: t(`outcome_${one.outcome}`) })}<//>`;
}

function Deliveries({ hook, close }) {
  const list = useList(`webhooks/${seg(hook.id)}/deliveries`);
  const [tried, tell] = useState(null);
  const secret = useAsked(`webhooks/${seg(hook.id)}/secret`);
  const attempt = async () => {
    tell(null);
    tell(await call('POST', `webhooks/${seg(hook.id)}/test`));
    list.again();
  };
  const outcome = (one) => html`<${Tag} kind=${OUTCOMES[one.outcome] ?? ''}>${t(`outcome_${one.outcome}`)}<//>`;
  return html`<${Dialog} wide title=${t('deliveries_of', { what: hook.url })} close=${close}>
    <div class="row wrap"><${Act} kind="primary" needs="admin" does=${attempt}>${t('webhook_test')}<//><span class="quiet">${t('webhook_test_text')}</span></div>
    <p role="status">${tried && html`${outcome(tried)} ${tried.error || (tried.status ? t('status_is', { status: tried.status }) : '')} <span class="quiet">${tried.took_ms} ms</span>`}</p>
    ${secret.data && html`<${Line} label=${t('webhook_secret')} text=${secret.data.secret} secret />`}<${Why} problem=${secret.problem} />
    <header class="row"><h3>${t('deliveries')}</h3><button type="button" onClick=${list.again}>${t('refresh')}</button></header>
    ${list.items.length > 0 && html`<${Table} caption=${t('deliveries')} rows=${list.items.map((one, n) => ({ ...one, n }))} name=${(one) => `${one.at_unix_ms}-${one.n}`} columns=${[
      ['at', t('when'), (one) => html`<${Time} ms=${one.at_unix_ms} />`],
      ['kind', t('event'), (one) => html`<code>${one.kind}</code>`],
      ['outcome', t('state'), outcome],
      ['status', t('status'), (one) => one.status ?? '–'],
      ['error', t('notes'), (one) => html`<span dir="auto">${one.error || '–'}</span>`],
      ['took', t('lasted'), (one) => `${one.took_ms} ms`],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${t('no_deliveries')} /><${More} list=${list} />
  <//>`;
}

export function Webhooks() {
  const list = useList('webhooks');
  const [open, show] = useState(null);
  const edit = async (one) => show({ edit: await get(`webhooks/${seg(one.id)}`) });
  const remove = async (one) => {
    const now = await get(`webhooks/${seg(one.id)}`);
    await call('DELETE', `webhooks/${seg(one.id)}`, { etag: now.etag });
    list.again();
  };
  return html`<header class="title"><h1>${t('view_webhooks')}</h1><div class="row"><button type="button" class="primary" onClick=${() => show({ make: true })}>${t('make_webhook')}</button></div></header>
    <p class="quiet">${t('webhooks_text')}</p>
    ${list.items.length > 0 && html`<${Table} caption=${t('view_webhooks')} rows=${list.items} name=${(one) => one.id} columns=${[
      ['url', t('address'), (one) => html`<code>${one.url}</code>`],
      ['state', t('state'), (one) => html`<${Tag} kind=${one.enabled ? 'live' : ''}>${one.enabled ? t('sends') : t('sends_not')}<//> <${Last} id=${one.id} />`],
      ['stream', t('stream'), (one) => one.stream ?? html`<span class="quiet">${t('all_streams')}</span>`],
      ['events', t('events'), (one) => (one.events.length ? one.events.map((kind) => html`<code class="whole">${kind}</code> `) : html`<span class="quiet">${t('all')}</span>`)],
      ['changed', t('changed'), (one) => html`<${Time} ms=${one.updated_unix_ms} />`],
      ['act', '', (one) => html`<span class="row wrap"><button type="button" class="small" aria-label=${`${t('deliveries')}: ${one.url}`} onClick=${() => show({ look: one })}>${t('deliveries')}</button>
        <${Act} small needs="admin" does=${() => edit(one)} label=${`${t('change')}: ${one.url}`}>${t('change')}<//>
        <${Act} small kind="danger" needs="admin" does=${() => remove(one)} word=${t('remove')} label=${`${t('remove')}: ${one.url}`} ask=${{ title: t('remove_what', { what: one.url }), text: t('remove_webhook_text') }}>${t('remove')}<//></span>`],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${html`<h2>${t('no_webhooks')}</h2><p>${t('no_webhooks_text')}</p>`} /><${More} list=${list} />
    ${(open?.make || open?.edit) && html`<${Edit} hook=${open.edit ?? null} close=${() => show(null)} changed=${list.again} />`}
    ${open?.look && html`<${Deliveries} hook=${open.look} close=${() => show(null)} />`}`;
}
