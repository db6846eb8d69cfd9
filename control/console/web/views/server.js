// The server itself: its nodes, workers of other machines, what its store cannot read, and the configuration in force.
import { useState } from 'preact/hooks';
import { may } from '../lib/api.js';
import { lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Rest, Table, Tag } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';

function Nodes() {
  const asked = useAsked('nodes', 3000);
  const items = asked.data?.items ?? [];
  const state = (node) => (node.away ? html`<${Tag} kind="bad">${t('node_away')}<//>` : node.draining ? html`<${Tag} kind="odd">${t('node_draining')}<//>` : html`<${Tag} kind="live">${t('node_here')}<//>`);
  return html`<section><h2>${t('nodes')}</h2>
    ${items.length > 0 && html`<${Table} caption=${t('nodes')} rows=${items} name=${(node) => node.name} columns=${[
      ['name', t('name'), (node) => html`<b>${node.name}</b> <small>${node.release}</small>`],
      ['state', t('state'), (node) => html`${state(node)}${node.same_name && html` <${Tag} kind="bad">${t('node_same_name')}<//>`}`],
      ['up', t('running'), (node) => lasting(Date.now() - node.started_unix_ms)],
      ['publishers', t('publishers'), (node) => number(node.publishers)],
      ['viewers', t('viewers'), (node) => number(node.viewers)],
      ['connections', t('connections'), (node) => number(node.connections)],
      ['urls', t('reached_by'), (node) => html`<code>${node.rtmp_url}</code> <code>${node.rtmps_url}</code> <code>${node.http_url}</code>`],
      ['worker', t('worker'), (node) => html`<${Worker} of=${node.worker} />`],
      ['records', t('records'), (node) => node.record_store || '–'],
    ]} />`}
    ${items.filter((node) => node.complaints?.length).map((node) => html`<div class="why" key=${node.name}><p><b>${node.name}</b></p><ul>${node.complaints.map((text) => html`<li>${text}</li>`)}</ul></div>`)}
    ${items.filter((node) => node.events_lost).map((node) => html`<p class="why" key=${node.name}>${t('events_lost', { node: node.name, count: number(node.events_lost) })}</p>`)}
    <${Rest} of=${asked} count=${items.length} empty=${t('no_node')} /></section>`;
}

// What the process does that decodes and encodes: in lines, and what is no trouble is left out.
function Worker({ of }) {
  if (!of) return html`<span class="quiet">–</span>`;
  const lines = [
    of.remote && t('worker_elsewhere', { name: of.remote }),
    t('worker_made', { made: number(of.renditions), wanted: number(of.renditions_wanted) }),
    of.renditions > 0 && t('worker_decoded', { fps: number(of.decoded_fps), ms: number(of.behind_ms) }),
    of.watched > 0 && t('worker_watched', { count: number(of.watched) }),
  ].filter(Boolean);
  const odd = [of.shed > 0 && t('worker_shed', { count: number(of.shed) }), of.restarts > 0 && t('worker_restarts', { count: number(of.restarts) })].filter(Boolean);
  return html`${lines.map((line) => html`<div key=${line}>${line}</div>`)}${odd.map((line) => html`<div key=${line} class="odd">${line}</div>`)}`;
}

// Workers of other machines: which node each works for, and why one does not. Fleets without any see nothing of them.
function Workers() {
  const asked = useAsked('workers', 3000);
  const items = asked.data?.items ?? [];
  if (!items.length && !asked.problem) return null;
  const state = (worker) => {
    if (worker.away) return html`<${Tag} kind="bad">${t('node_away')}<//>`;
    if (worker.serving) return html`<${Tag} kind="live">${t('worker_serves')}<//>`;
    return html`<${Tag} kind=${worker.node ? 'odd' : ''}>${t(worker.node ? 'worker_comes' : 'worker_waits')}<//>`;
  };
  return html`<section><h2>${t('workers')}</h2><p class="quiet">${t('workers_text')}</p>
    ${items.length > 0 && html`<${Table} caption=${t('workers')} rows=${items} name=${(worker) => worker.name} columns=${[
      ['name', t('name'), (worker) => html`<b>${worker.name}</b> <small>${worker.release}</small>`],
      ['state', t('state'), (worker) => html`${state(worker)}${worker.same_name && html` <${Tag} kind="bad">${t('node_same_name')}<//>`}`],
      ['node', t('node'), (worker) => (worker.node ? html`<b>${worker.node}</b>` : html`<span class="quiet">–</span>`)],
      ['up', t('running'), (worker) => (worker.started_unix_ms ? lasting(Date.now() - worker.started_unix_ms) : '–')],
      ['cores', t('cores'), (worker) => number(worker.cores)],
      ['decodes', t('worker_decodes'), (worker) => worker.decodes.join(', ') || '–'],
      ['encodes', t('worker_encodes'), (worker) => worker.encoder || '–'],
    ]} />`}
    ${items.filter((worker) => worker.trouble).map((worker) => html`<p class="why" key=${worker.name}><b>${worker.name}</b>: ${worker.trouble}</p>`)}
    <${Rest} of=${asked} count=${items.length} /></section>`;
}

// What all addresses of streams begin with.
function Domains() {
  const asked = useAsked('addresses', 10000);
  const items = asked.data?.items ?? [];
  const url = (text) => (text ? html`<code>${text}</code>` : html`<span class="quiet">–</span>`);
  return html`<section><h2>${t('domains')}</h2><p class="quiet">${t('domains_text')}</p>
    ${items.length > 0 && html`<${Table} caption=${t('domains')} rows=${items} name=${(one) => one.node} columns=${[
      ['node', t('node'), (one) => (one.node ? html`<b>${one.node}</b>` : t('fleet'))],
      ['rtmp', t('push_begins'), (one) => url(one.rtmp_url)],
      ['rtmps', t('push_begins_tls'), (one) => url(one.rtmps_url)],
      ['http', t('play_begins'), (one) => url(one.http_url)],
    ]} />`}
    <${Rest} of=${asked} count=${items.length} empty=${t('no_node')} /></section>`;
}

function StoreState() {
  const asked = useAsked('store');
  const items = asked.data?.unreadable ?? [];
  return html`<section><h2>${t('store')}</h2><${Rest} of=${asked} count=${asked.data ? 1 : 0} />
    ${asked.data && html`<p>${t('store_streams', { count: number(asked.data.streams) })} ${items.length ? '' : t('store_good')}</p>`}
    ${items.length > 0 && html`<div class="why"><p>${t('store_unreadable')}</p><ul>${items.map((one) => html`<li>${one.kind} <code>${one.key}</code></li>`)}</ul></div>`}</section>`;
}

function Configuration() {
  const asked = useAsked('config');
  const [find, look] = useState('');
  const rows = [];
  const walk = (value, path) => {
    if (value && typeof value === 'object' && !Array.isArray(value)) Object.entries(value).forEach(([key, one]) => walk(one, path ? `${path}.${key}` : key));
    else rows.push([path, typeof value === 'string' ? value : JSON.stringify(value)]);
  };
  if (asked.data) walk(asked.data, '');
  const shown = rows.filter(([path, text]) => `${path} ${text}`.toLowerCase().includes(find.toLowerCase()));
  return html`<section><header class="row"><h2>${t('configuration')}</h2><input type="search" aria-label=${t('find_setting')} placeholder=${t('find_setting')} value=${find} onInput=${(event) => look(event.target.value)} /></header>
    <p class="quiet">${t('configuration_text')}</p><${Rest} of=${asked} count=${rows.length} />
    <dl class="config">${shown.map(([path, text]) => html`<div key=${path}><dt><code>${path}</code></dt><dd><code>${text}</code></dd></div>`)}</dl></section>`;
}

export const Server = () => html`<header class="title"><h1>${t('view_server')}</h1></header><${Nodes} /><${Workers} /><${Domains} />${may('admin') && html`<${StoreState} /><${Configuration} />`}`;
