// One hook: its versions and where they are asked, an upload, a trial, its log.
import { useState } from 'preact/hooks';
import { call, get, may, seg } from '../lib/api.js';
import { bytes, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Act, Rest, Table, Tag, Time, Why } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';
import { Bindings } from './bindings.js';
import { Trial } from './trial.js';
import { Report, Upload } from './upload.js';

const PARTS = ['versions', 'bindings', 'test', 'logs'];

function Logs({ name }) {
  const [level, choose] = useState('debug');
  const asked = useAsked(`hooks/${seg(name)}/logs?limit=200&level=${level}`, 3000);
  const items = asked.data?.items ?? [];
  return html`<section><header class="row"><h2>${t('part_logs')}</h2><label>${t('level')} <select value=${level} onChange=${(event) => choose(event.target.value)}>${['debug', 'info', 'warn', 'error'].map((one) => html`<option value=${one}>${one}</option>`)}</select></label></header>
    ${asked.data?.dropped > 0 && html`<p class="why">${t('logs_dropped', { count: asked.data.dropped })}</p>`}
    ${Object.entries(asked.data?.failed ?? {}).map(([node, why]) => html`<p class="why" key=${node}>${node}: ${String(why)}</p>`)}
    <${Rest} of=${asked} count=${items.length} empty=${t('no_logs')} />
    <ol class="log">${[...items].reverse().map((line, n) => html`<li key=${`${line.at_unix_ms}-${n}`} class=${line.level}><${Time} ms=${line.at_unix_ms} short /> <${Tag} kind=${{ error: 'bad', warn: 'odd' }[line.level] ?? ''}>${line.level}<//> <span class="quiet">${line.node} v${line.version}${line.shadow ? ' shadow' : ''}</span> <span dir="auto">${line.text}</span></li>`)}</ol></section>`;
}

// What its versions did on all nodes.
function Figures({ name }) {
  const asked = useAsked(`hooks/${seg(name)}/numbers`, 5000);
  const items = asked.data?.items ?? [];
  const words = (counts) => Object.entries(counts).map(([word, count]) => `${word} ${number(count)}`).join(', ') || '–';
  const us = (value) => (value === null ? '–' : `${number(value)} µs`);
  if (!items.length && !asked.problem) return null;
  return html`<section><h2>${t('hook_figures')}</h2><p class="quiet">${t('hook_figures_text')}</p>
    ${(asked.data?.missing ?? []).map((one) => html`<p class="why" key=${one.node}>${one.node}: ${one.reason}</p>`)}
    ${items.length > 0 && html`<${Table} caption=${t('hook_figures')} rows=${items} name=${(one) => one.version} columns=${[
      ['version', t('version'), (one) => html`<b>${one.version}</b>`],
      ['calls', t('calls'), (one) => number(one.calls)],
      ['answers', t('answers'), (one) => words({ ...one.answers, ...one.notices, ...one.orders })],
      ['failures', t('failures'), (one) => words(one.failures)],
      ['shadow', t('shadow_differs'), (one) => (one.agreed + one.disagreed ? html`${number(one.disagreed)} / ${number(one.agreed + one.disagreed)}` : '–')],
      // The largest bucket has no end.
      ['cpu', t('cpu_of_call'), (one) => (one.cpu_mean_us === null ? '–' : `${us(one.cpu_mean_us)} · p99 ${one.cpu_p99_us === null ? t('beyond_buckets') : us(one.cpu_p99_us)}`)],
    ]} />`}
    <${Rest} of=${asked} count=${items.length} /></section>`;
}

// What refuses an activation for what may be accepted: failures, or other decisions than those that were recorded.
function acceptable(problem) {
  if (problem?.status !== 409) return null;
  if (/accept_failures/.test(problem.message)) return 'accept_failures';
  return /accept_differences/.test(problem.message) ? 'accept_differences' : null;
}

function Activate({ name, number, changed }) {
  const [accept, offer] = useState(null);
  const run = async () => {
    const hook = await get(`hooks/${seg(name)}`);
    try {
      await call('POST', `hooks/${seg(name)}/activate`, { json: { version: number, ...(accept && { [accept]: true }) }, etag: hook.etag });
    } catch (problem) {
      offer(acceptable(problem));
      throw problem;
    }
    changed();
  };
  return html`<${Act} small needs="operator" does=${run} word=${accept ? t(accept) : t('activate')} label=${t('activate_what', { number })} ask=${{ title: t('activate_what', { number }), text: t('activate_text') }}>${t('activate')}<//>`;
}

export function Hook({ id: name, part = 'versions' }) {
  const asked = useAsked(`hooks/${seg(name)}`, 5000);
  const bindings = useAsked(`hook-bindings?limit=500&hook=${seg(name)}`, 5000);
  const hook = asked.data;
  const again = () => {
    asked.again();
    bindings.again();
  };
  const shown = PARTS.includes(part) ? part : 'versions';
  const bound = bindings.data?.items ?? [];
  const usersOf = (number) => bound.filter((one) => one.means?.version === number && one.mode !== 'off');
  const rollBack = async () => {
    const now = await get(`hooks/${seg(name)}`);
    await call('POST', `hooks/${seg(name)}/rollback`, { etag: now.etag });
    again();
  };
  const remove = async () => {
    const now = await get(`hooks/${seg(name)}`);
    await call('DELETE', `hooks/${seg(name)}`, { etag: now.etag });
    location.hash = '#/hooks';
  };
  return html`<header class="title"><div><p class="crumbs"><a href="#/hooks">${t('view_hooks')}</a></p><h1>${name}</h1>${hook && html`<p class="quiet"><${Tag}>${hook.kind}<//> <span dir="auto">${hook.description}</span></p>`}</div>
      ${hook && html`<div class="row"><${Act} needs="operator" does=${rollBack} ask=${{ title: t('roll_back'), text: t('roll_back_text') }}>${t('roll_back')}<//>
        <${Act} kind="danger" needs="admin" does=${remove} word=${t('remove')} ask=${{ title: t('remove_what', { what: name }), text: t('remove_hook_text') }}>${t('remove')}<//></div>`}</header>
    ${hook && html`<nav class="tabs" aria-label=${t('parts')}>${PARTS.filter((key) => may('operator') || !['test', 'logs'].includes(key)).map((key) => html`<a href=${`#/hooks/${seg(name)}/${key}`} aria-current=${key === shown ? 'page' : undefined}>${t(`part_${key}`)}</a>`)}</nav>`}
    <${Rest} of=${asked} count=${hook ? 1 : 0} />
    ${hook && shown === 'versions' && html`
      ${may('admin') && html`<${Upload} name=${name} changed=${again} />`}
      ${hook.versions.length > 0 && html`<${Table} caption=${t('part_versions')} rows=${[...hook.versions].reverse()} name=${(one) => one.number} columns=${[
        ['number', t('version'), (one) => html`<b>${one.number}</b> ${usersOf(one.number).map((use) => html`<${Tag} kind=${use.mode === 'live' ? 'live' : 'odd'}>${t(`mode_${use.mode}`)}<//> `)}${one.failed && html`<${Tag} kind="bad" title=${t('failed_of', one.failed)}>${t('failed')}<//>`}`],
        ['says', t('says'), (one) => (one.report?.name ? `${one.report.name} ${one.report.version}` : '–')],
        ['bytes', t('size'), (one) => bytes(one.bytes)],
        ['made', t('uploaded'), (one) => html`<${Time} ms=${one.created_unix_ms} /> <small>${one.created_by}</small>`],
        ['sum', 'SHA-256', (one) => html`<code title=${one.sha256}>${one.sha256.slice(0, 12)}</code>`],
        ['report', t('report'), (one) => html`<details><summary>${t('show')}</summary><${Report} version=${one} /></details>`],
        ['act', '', (one) => html`<${Activate} name=${name} number=${one.number} changed=${again} />`],
      ]} />`}
      ${!hook.versions.length && html`<p class="empty">${t('no_versions')}</p>`}
      <${Figures} name=${name} />`}
    ${hook && shown === 'bindings' && html`<${Why} problem=${bindings.problem} /><${Bindings} hook=${hook} bindings=${bound} changed=${again} />`}
    ${hook && shown === 'test' && html`<${Trial} hook=${hook} bindings=${bound} />`}
    ${hook && shown === 'logs' && html`<${Logs} name=${name} />`}`;
}
