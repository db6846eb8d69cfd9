// What is wrong with a stream: a short mark for lists, and sentences with what to do. Nodes recognise it, and the API says it in English.
import { seg } from '../lib/api.js';
import { lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { has, sentence, t } from '../lib/text.js';
import { useAsked } from '../lib/use.js';
import { Findings, Health, findings } from './health.js';

const KINDS = { error: 'bad', warning: 'odd', notice: 'note' };
const kindOf = (one) => KINDS[one.severity] ?? 'odd';

// A later release may recognise what this page has no words for.
const nameOf = (one) => (has(`condition_${one.id}`) ? t(`condition_${one.id}`) : one.id);

// The sentence and the advice in the chosen language. In English, and where this page does not know the condition, they are the API's own.
function wordsOf(one) {
  const key = one.form ? `${one.id}_${one.form}` : one.id;
  const figures = Object.fromEntries(Object.entries(one.figures).map(([name, figure]) => [name, number(figure, 1)]));
  const why = one.why ? sentence('because', { why: one.why }) : '';
  const said = sentence(`diagnosis_${key}`, { ...figures, about: one.about, why, before: one.why });
  const advice = sentence(`advice_${key}`, {});
  return said && advice ? [said, advice] : [one.sentence, one.advice];
}

// For a list: what it is, in a word, and how much more; how the stream arrives where nothing is wrong, or where that is worse.
export function Mark({ live }) {
  const conditions = live.conditions ?? [];
  const isWorse = findings(live.publisher).some((one) => one.kind === 'bad') && conditions[0]?.severity !== 'error';
  if (!conditions.length || isWorse) return html`<${Health} publisher=${live.publisher} />`;
  const more = conditions.length > 1 ? ` +${conditions.length - 1}` : '';
  return html`<span class=${`health ${kindOf(conditions[0])}`} data-conditions=${conditions.map((one) => one.id).join(' ')}
    title=${conditions.map(nameOf).join('\n')}>${nameOf(conditions[0])}${more}</span>`;
}

export function Diagnosis({ id, publisher }) {
  const asked = useAsked(`streams/${seg(id)}/diagnosis`, 2000);
  const conditions = asked.problem?.status === 404 ? [] : asked.data?.conditions ?? [];
  const said = conditions.map((one) => one.id);
  const arrives = publisher && (conditions.length === 0 || findings(publisher, said).length > 0);
  if (!conditions.length && !publisher) return null;
  return html`<section class="diagnosis"><h2>${t('health')}</h2>
    <p class="outside" role="status">${conditions.map(nameOf).join(', ')}</p>
    <ul class="conditions">${conditions.map((one) => {
      const [sentence, advice] = wordsOf(one);
      return html`<li key=${`${one.node}/${one.id}`} class=${kindOf(one)} data-condition=${one.id}>
        <p class=${`health ${kindOf(one)}`}>${nameOf(one)} <span class="quiet">${t('condition_since', { time: lasting(Date.now() - one.since_unix_ms) })}</span></p>
        <p dir="auto">${sentence}</p><p class="quiet">${advice}</p></li>`;
    })}</ul>
    ${arrives && html`<${Findings} publisher=${publisher} said=${said} />`}
  </section>`;
}
