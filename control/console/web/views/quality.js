// How a stream plays at its viewers, as their players say: a row for each protocol. What players do not say is not known, and nothing is guessed.
import { seg } from '../lib/api.js';
import { bits, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Table } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';

const seconds = (ms) => `${number(ms / 1000, ms < 10000 ? 1 : 0)} s`;

// Half of the values, and 95 of a hundred.
function Figure({ of, show }) {
  if (!of.count) return html`<span class="quiet">–</span>`;
  return html`<span title=${t('quality_of', { count: number(of.count) })}><b>${show(of.median)}</b> <small>${t('most_within', { value: show(of.p95) })}</small></span>`;
}

function Stalls({ of }) {
  if (of.stalls_per_hour === null) return html`<span class="quiet">–</span>`;
  const share = of.stalled_ms ? ` · ${t('of_time', { percent: number(Math.min(100, (of.stalled_ms / of.played_ms) * 100), 2) })}` : '';
  const kind = of.stalls_per_hour > 6 ? 'odd' : 'good';
  return html`<span class=${`health ${of.stalls ? kind : 'good'}`}>${of.stalls ? `${t('an_hour', { count: number(of.stalls_per_hour, 1) })}${share}` : t('stalls_none')}</span>`;
}

export function Quality({ id }) {
  const asked = useAsked(`streams/${seg(id)}/qoe`, 5000);
  const items = asked.data?.items ?? [];
  if (!asked.data) return null;
  return html`<section class="quality"><h2>${t('quality')}</h2>
    <p class="quiet">${items.length ? t('quality_text', { minutes: asked.data.minutes }) : t('quality_none')}</p>
    ${items.length > 0 && html`<${Table} caption=${t('quality')} rows=${items} name=${(one) => one.protocol} columns=${[
      ['protocol', t('protocol'), (one) => html`<b>${one.protocol}</b>`],
      ['sessions', t('players_heard'), (one) => number(one.sessions)],
      ['start', t('start_up'), (one) => html`<${Figure} of=${one.start_ms} show=${seconds} />`],
      ['stalls', t('stalls'), (one) => html`<${Stalls} of=${one} />`],
      ['delay', t('delay'), (one) => html`<${Figure} of=${one.latency_ms} show=${seconds} />`],
      ['bitrate', t('bitrate'), (one) => html`<${Figure} of=${one.bitrate_kbit_s} show=${(kbit) => bits(kbit * 1000)} />`],
      ['buffer', t('buffer'), (one) => html`<${Figure} of=${one.buffer_ms} show=${seconds} />`],
    ]} />`}
    ${asked.data.missing.map((one) => html`<p class="why" key=${one.node}>${one.node}: ${one.reason}</p>`)}
  </section>`;
}
