// How a publisher arrives, in a word and in sentences: what an operator would do something about.
import { lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';

// More than these is worth a word.
const JITTER_MS = 100;
const SILENT_MS = 3000;

// What is not as it should be: `bad` or `odd`, and a sentence.
export function findings(publisher) {
  if (!publisher) return [];
  const found = [];
  const odd = (text, kind = 'odd') => found.push({ kind, text });
  if (publisher.heard_ago_ms > SILENT_MS) odd(t('health_silent', { time: lasting(publisher.heard_ago_ms) }), 'bad');
  if (publisher.gaps) odd(t('health_gaps', { count: number(publisher.gaps), longest: number(publisher.longest_gap_ms / 1000, 1) }));
  if (publisher.jitter_ms > JITTER_MS) odd(t('health_jitter', { ms: number(publisher.jitter_ms) }));
  if (publisher.timestamp_jumps) odd(t('health_jumps', { count: number(publisher.timestamp_jumps) }));
  for (const repair of publisher.repairs ?? []) odd(`${repair.advice} (${number(repair.count)})`);
  for (const dropped of publisher.dropped_tracks ?? []) odd(`${dropped.codec}: ${dropped.reason}`, 'bad');
  return found;
}

export function Health({ publisher }) {
  if (!publisher) return html`<span></span>`;
  const found = findings(publisher);
  const kind = found.some((one) => one.kind === 'bad') ? 'bad' : found.length ? 'odd' : 'good';
  const word = found.length ? t('health_notes', { count: found.length }) : t('health_good');
  return html`<span class=${`health ${kind}`} title=${found.map((one) => one.text).join('\n')}>${word}</span>`;
}

export function Findings({ publisher }) {
  const found = findings(publisher);
  if (!found.length) return html`<p class="health good">${t('health_good_text')}</p>`;
  return html`<ul class="findings">${found.map((one) => html`<li class=${`health ${one.kind}`}>${one.text}</li>`)}</ul>`;
}
