// Where players find a stream, and what is put into a page to show it.
import { useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { placesOf } from '../lib/places.js';
import { Qr } from '../lib/qr.js';
import { t } from '../lib/text.js';
import { Field, Line, Rest } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';

const WAYS = [['page', 'play_page'], ['hls', 'HLS'], ['dash', 'DASH'], ['flv', 'HTTP-FLV'], ['rtmp', 'RTMP']];

// The name may be anything, and goes into an attribute. What turns text around would turn the code around where it is shown.
const attribute = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, '').replace(/[&<>"]/g, (one) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[one]);

export function Play({ id, name }) {
  const asked = useAsked(id, 0, placesOf);
  const [at, choose] = useState(0);
  const [qr, show] = useState('');
  const items = asked.data ?? [];
  const here = items[Math.min(at, items.length - 1)];
  if (!here) return html`<${Rest} of=${asked} count=${0} empty=${t('no_node')} />`;
  const code = here.page && `<iframe src="${here.page}?embed=1" title="${attribute(name)}" width="640" height="360" allow="autoplay; fullscreen" style="border:0"></iframe>`;
  return html`<section>
    ${items.length > 1 && html`<${Field} label=${t('node')}>${(field) => html`<select ...${field} value=${at} onChange=${(event) => choose(Number(event.target.value))}>
      ${items.map((one, n) => html`<option value=${n}>${one.node || t('fleet')}</option>`)}</select>`}<//>`}
    ${WAYS.map(([key, label]) => {
      const name_ = key === 'page' ? t(label) : label;
      if (!here[key]) return html`<p class="quiet" key=${key}>${t('no_output', { what: name_ })}</p>`;
      return html`<div key=${key}><${Line} label=${name_} text=${here[key]} more=${html`<button type="button" class="small" aria-expanded=${qr === key} aria-label=${`${t('qr')}: ${name_}`} onClick=${() => show(qr === key ? '' : key)}>${t('qr')}</button>
        ${key === 'page' && html`<a class="button small" href=${here.page} target="_blank" rel="noopener noreferrer">${t('open')}</a>`}`} />
        ${qr === key && html`<${Qr} text=${here[key]} label=${`${t('qr')}: ${name_}`} />`}</div>`;
    })}
    <h2>${t('embed')}</h2>
    ${code ? html`<${Line} label=${t('embed_code')} text=${code} />` : html`<p class="quiet">${t('no_output', { what: t('play_page') })}</p>`}
  </section>`;
}
