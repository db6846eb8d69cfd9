// A version tried with an event: nothing of it is acted on.
import { useState } from 'preact/hooks';
import { call, get, query, seg } from '../lib/api.js';
import { number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Act, Field, Tag, Why } from '../lib/ui.js';

const EXAMPLES = {
  auth: { request: { action: 'publish', client: { ip: '192.0.2.1', protocol: 'rtmp' }, target: { app: 'stream', name: 'lobby' } } },
  policy: { request: { target: { app: 'stream', name: 'lobby' }, width: 1920, height: 1080, kbps: 6000, load_percent: 20 } },
  motion: { request: { target: { app: 'stream', name: 'lobby' }, width: 1280, height: 720 } },
  events: { request: { notices: [{ kind: 'publish-start', id: 1, target: { app: 'stream', name: 'lobby' } }] } },
};

// The made-up event for a binding: at its point, of its stream.
function example(kind, binding) {
  const text = JSON.stringify(EXAMPLES[kind] ?? {}, null, 2);
  const event = JSON.parse(binding?.stream ? text.replaceAll('"lobby"', JSON.stringify(binding.stream)) : text);
  if (binding && event.request?.action) event.request.action = binding.point;
  return JSON.stringify(event, null, 2);
}

export function Trial({ hook, bindings }) {
  const first = bindings.find((one) => one.mode === 'live');
  const [given, set] = useState({ version: String(hook.versions.at(-1)?.number ?? ''), binding: first?.id ?? '', event: example(hook.kind, first) });
  const [state, say] = useState({ busy: false, problem: null, trial: null });
  const [recorded, list] = useState(null);
  const change = (name) => (event) => set({ ...given, [name]: event.target.value });
  let event = null;
  try { event = JSON.parse(given.event); } catch { /* It is said beside the field. */ }
  const run = async (submitted) => {
    submitted.preventDefault();
    say({ busy: true, problem: null, trial: null });
    try {
      const trial = await call('POST', `hooks/${seg(hook.name)}/versions/${given.version}/test`, { json: { event, ...(given.binding && { binding: given.binding }) } });
      say({ busy: false, problem: null, trial });
    } catch (problem) {
      say({ busy: false, problem, trial: null });
    }
  };
  const record = async () => {
    const { items } = await get(`hooks/${seg(hook.name)}/decisions${query({ binding: given.binding, limit: 20 })}`);
    list(items.reverse());
  };
  if (!hook.versions.length) return html`<p class="empty">${t('no_versions')}</p>`;
  const { trial } = state;
  // Only hooks of the kind auth allow or deny.
  const kind = { allow: 'live', deny: 'bad' }[trial?.answer?.answer] ?? (trial?.failure ? 'bad' : 'odd');
  const said = trial?.answer?.answer ?? (trial?.failure ? t('failed') : t('done'));
  return html`<section><p class="quiet">${t('trial_text')}</p><form onSubmit=${run}>
    <div class="grid">
      <${Field} label=${t('version')}>${(field) => html`<select ...${field} value=${given.version} onChange=${change('version')}>${[...hook.versions].reverse().map((one) => html`<option value=${one.number}>${one.number}</option>`)}</select>`}<//>
      <${Field} label=${t('configuration_from')} wrong=${state.problem?.of('binding')}>${(field) => html`<select ...${field} value=${given.binding} onChange=${change('binding')}><option value="">${t('no_configuration')}</option>
        ${bindings.map((one) => html`<option value=${one.id}>${t(`point_${one.point}`)} · ${one.stream ?? t('all_streams')}</option>`)}</select>`}<//>
    </div>
    <${Field} label=${t('event')} hint=${t('event_hint')} wrong=${event === null ? t('wrong_json') : state.problem?.of('event')}>${(field) => html`<textarea ...${field} class="code" rows="10" spellcheck="false" value=${given.event} onInput=${change('event')}></textarea>`}<//>
    <${Why} problem=${state.problem} shown=${['event', 'binding']} />
    <div class="row"><button class="primary" disabled=${state.busy || event === null}>${t('try')}</button><${Act} needs="operator" does=${record}>${t('recorded_events')}<//></div>
  </form>
  ${recorded && html`<div><h3>${t('recorded_events')}</h3>${!recorded.length && html`<p class="quiet">${t('no_recorded_events')}</p>`}
    <ul class="files">${recorded.map((one, n) => html`<li key=${n}><button type="button" class="small" onClick=${() => set({ ...given, event: JSON.stringify(one, null, 2) })}>${t('take')}</button> <code>${JSON.stringify(one.request)}</code></li>`)}</ul></div>`}
  ${trial && html`<div class="report" role="status"><p><${Tag} kind=${kind}>${said}<//> ${t('trial_cost', { used: number(trial.cpu_us), budget: number(trial.budget_us) })}</p>
    ${trial.config_refused && html`<p class="why">${trial.config_refused}</p>`}
    ${trial.failure && html`<p class="why">${trial.failure.cause}: ${trial.failure.message}</p>`}
    ${trial.answer && html`<pre>${JSON.stringify(trial.answer, null, 2)}</pre>`}
    ${trial.logs.length > 0 && html`<h3>${t('part_logs')}</h3><ol class="log">${trial.logs.map((line) => html`<li>${line.level} <span dir="auto">${line.text}</span></li>`)}</ol>`}</div>`}
  </section>`;
}
