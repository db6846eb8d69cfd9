// What a node makes of a stream beside what is pushed: its renditions and who chose them, and the servers that it is pushed on to.
import { bits, bytes, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { has, t } from '../lib/text.js';
import { Table, Tag } from '../lib/ui.js';

const RENDITIONS = { running: 'live', starting: 'odd', unavailable: 'bad' };
const RELAYS = { on_air: 'live', connecting: 'odd', waiting: 'bad' };

// A later release may know states that this page has no words for.
const word = (key, state) => (has(key) ? t(key) : state);

// Which policy hook has chosen the renditions, and what of its choice is not there.
function Ladder({ of }) {
  if (!of) return null;
  const { hook, version } = of;
  return html`<p class=${of.failed ? 'why' : 'quiet'} data-ladder=${hook}>${of.failed ? t('ladder_failed', { hook, version, why: of.failed }) : t('ladder', { hook, version })}</p>
    ${of.left_out?.length > 0 && html`<div class="why"><ul>${of.left_out.map((text) => html`<li>${text}</li>`)}</ul></div>`}`;
}

export function Renditions({ live }) {
  const items = live.renditions ?? [];
  if (!items.length && !live.ladder) return null;
  const made = (one, text) => (one.state === 'running' ? html`<span class="whole">${text}</span>` : html`<span class="quiet">–</span>`);
  return html`<section class="renditions"><h2>${t('renditions')}</h2><${Ladder} of=${live.ladder} />
    ${items.length > 0 && html`<${Table} caption=${t('renditions')} rows=${items} name=${(one) => one.name} columns=${[
      ['name', t('name'), (one) => html`<b class="whole">${one.name}</b>`],
      ['state', t('state'), (one) => html`<${Tag} kind=${RENDITIONS[one.state] ?? ''} title=${one.why}>${word(`rendition_${one.state}`, one.state)}<//>${one.why && html` <small>${one.why}</small>`}`],
      ['size', t('picture'), (one) => (one.height ? html`<span class="whole">${one.width}×${one.height}</span>` : html`<span class="quiet">–</span>`)],
      ['fps', t('fps'), (one) => made(one, number(one.fps, 1))],
      ['bitrate', t('bitrate'), (one) => made(one, bits(one.bitrate_bps))],
      ['viewers', t('viewers'), (one) => number(one.viewers)],
    ]} />`}</section>`;
}

export function Relays({ live }) {
  const items = live.relays ?? [];
  if (!items.length) return null;
  return html`<section class="relays"><h2>${t('relays')}</h2><${Table} caption=${t('relays')} rows=${items} name=${(one) => one.target} columns=${[
    ['target', t('target'), (one) => html`<code>${one.target}</code>`],
    ['state', t('state'), (one) => html`<${Tag} kind=${RELAYS[one.state] ?? ''}>${word(`relay_${one.state}`, one.state)}<//> <small>${lasting(Date.now() - one.since_unix_ms)}</small>`],
    ['sent', t('sent'), (one) => html`<span class="whole">${bytes(one.sent_bytes)}</span>`],
    ['skips', t('skips'), (one) => number(one.skips)],
    ['error', t('last_error'), (one) => one.last_error ?? html`<span class="quiet">–</span>`],
  ]} /></section>`;
}
