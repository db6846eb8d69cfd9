// Motion that was seen in a stream: its picture, when and how much moved, its film.
import { useState } from 'preact/hooks';
import { seg } from '../lib/api.js';
import { bytes, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { baseAt, filesOf } from '../lib/places.js';
import { t } from '../lib/text.js';
import { More, Rest, Table, Time } from '../lib/ui.js';
import { useAsked, useList } from '../lib/use.js';

// An older one without an end is of a node that was lost before it told.
const GOES_ON_MS = 3600000;

// One that is not there (any more), or that needs a permission, is left out. To be keyed by its address.
export function Picture({ url }) {
  const [gone, lose] = useState(false);
  if (!url || gone) return html`<span></span>`;
  return html`<a class="motion" href=${url} target="_blank" rel="noopener noreferrer"><img src=${url} alt=${t('motion_picture')} loading="lazy" referrerpolicy="no-referrer" onError=${() => lose(true)} /></a>`;
}

function Film({ of, base }) {
  if (!of.film) return html`<span class="quiet">${of.film_why || '–'}</span>`;
  const size = html` <small class="quiet">${lasting(of.film.duration_ms)} · ${bytes(of.film.bytes)}</small>`;
  return base ? html`<a href=${base + of.film.path} target="_blank" rel="noopener noreferrer">${t('motion_film')}</a>${size}` : html`${t('motion_film')}${size}`;
}

// How motion is looked for in a stream that is on air, in a few words.
export function looked(motion) {
  if (!motion.watched) return motion.why ?? t('motion_begins');
  const pictures = number(motion.pictures_s, 1);
  return motion.since_unix_ms ? t('motion_now', { time: lasting(Date.now() - motion.since_unix_ms), pictures }) : t('motion_watched', { pictures });
}

export function Motion({ id }) {
  const list = useList(`streams/${seg(id)}/motion`);
  // Within the hour that addresses are good for.
  const files = useAsked(id, 1800000, filesOf);
  const baseOf = (one) => baseAt(files.data ?? [], one.node);
  const picture = (url) => html`<${Picture} key=${url} url=${url} />`;
  const goesOn = (one) => (Date.now() - one.from_unix_ms < GOES_ON_MS ? t('motion_goes_on') : t('not_over'));
  return html`<div class="row"><p class="quiet">${t('motion_text')}</p><button type="button" onClick=${() => { list.again(); files.again(); }}>${t('refresh')}</button></div>
    ${list.items.length > 0 && html`<${Table} caption=${t('part_motion')} rows=${list.items} name=${(one) => one.from_unix_ms} columns=${[
      ['began', t('began'), (one) => html`<${Time} ms=${one.from_unix_ms} />`],
      ['picture', t('motion_image'), (one) => picture(one.picture && baseOf(one) && baseOf(one) + one.picture)],
      ['lasted', t('lasted'), (one) => (one.lasted_ms === null ? html`<span class="quiet">${goesOn(one)}</span>` : html`<span title=${one.why}>${lasting(one.lasted_ms)}</span>`)],
      ['part', t('of_picture'), (one) => `${number(one.score * 100, 1)} %`],
      ['label', t('motion_label'), (one) => html`<span dir="auto">${one.label || '–'}</span>`],
      ['film', t('motion_film'), (one) => html`<${Film} of=${one} base=${baseOf(one)} />`],
      ['node', t('node'), (one) => one.node],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${html`<h2>${t('no_motion')}</h2><p>${t('no_motion_text')}</p>`} /><${More} list=${list} />`;
}
